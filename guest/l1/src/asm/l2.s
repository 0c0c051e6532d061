// L2: its interrupt handlers, and programs that end with VMCALL.

.balign 16
.globl guest_l1_l2_stubs
.hidden guest_l1_l2_stubs
guest_l1_l2_stubs:
.set l1_vector, 0
.rept 256
    .balign 16
    inc qword ptr [{L2_COUNTS} + 8 * l1_vector]
    .if l1_vector < 32 && (({ERROR_CODES} >> l1_vector) & 1)
    add rsp, 8
    .endif
    iretq
    .set l1_vector, l1_vector + 1
.endr

// The programs, in the order of `Program`, 32 bytes each.
.balign 32
.globl guest_l1_programs
.hidden guest_l1_programs
guest_l1_programs:
    // Call
    vmcall
    .balign 32, 0xf4
    // Nops
    .rept 8
    nop
    .endr
    vmcall
    .balign 32, 0xf4
    // AllowInterrupts
    sti
    nop
    nop
    nop
    vmcall
    .balign 32, 0xf4
    // Halt
    hlt
    nop
    vmcall
    .balign 32, 0xf4
    // Identify
    xor eax, eax
    cpuid
    vmcall
    .balign 32, 0xf4
    // Software interrupt
    int 0x60
    nop
    vmcall
    .balign 32, 0xf4
    // Count
    .rept 2
    inc qword ptr [{L2_PROGRESS}]
    .endr
    vmcall
    .balign 32, 0xf4
    // SendInterrupt, SendNmi, SendInit: to L1, through its local APIC, whose id is 0
    mov edx, {APIC}
    mov dword ptr [rdx + 0x300], 0x44000 + {VECTOR}
    nop
    vmcall
    .balign 32, 0xf4
    mov edx, {APIC}
    mov dword ptr [rdx + 0x310], 0
    mov dword ptr [rdx + 0x300], 0x4400
    nop
    vmcall
    .balign 32, 0xf4
    mov edx, {APIC}
    mov dword ptr [rdx + 0x310], 0
    mov dword ptr [rdx + 0x300], 0x4500
    nop
    vmcall
    .balign 32, 0xf4
    // Spin
1:  inc qword ptr [{L2_PROGRESS}]
    jmp 1b
    .balign 32, 0xf4
guest_l1_programs_end:
