// From a loader's 32-bit protected mode (PVH, multiboot 1, or our ROM) to 64-bit mode with the
// processor in VMX operation.

.code32
    jmp l1_entry
.balign 8
    // Multiboot 1: magic, flags, checksum. The image is an ELF file, so no addresses follow.
    .long 0x1badb002, 0, -0x1badb002

l1_entry:
    cli
    cld
    lgdt [{GDTR}]
    mov eax, {PML4}
    mov cr3, eax
    mov eax, cr4
    or eax, 0x20                    // PAE
    mov cr4, eax
    mov ecx, 0xc0000080             // IA32_EFER
    rdmsr
    or eax, 0x100                   // LME
    wrmsr
    mov eax, 0x80000031             // PG, NE, ET, PE
    mov cr0, eax
    .byte 0xea                      // JMP far, which the assembler would need a relocation for
    .long {CODE} + (l1_long_mode - guest_l1_start)
    .word 0x08

.code64
l1_long_mode:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov esp, {L1_STACK}
    mov edi, {BSS}
    mov ecx, ({BSS_END} - {BSS}) / 8
    xor eax, eax
    rep stosq
    mov qword ptr [{LINE_END}], {LINE}
    mov eax, 0x20
    ltr ax
    lidt [{L1_IDTR}]

    // The serial port: 115200 8N1, FIFOs on, no interrupts.
    mov edx, 0x3f9
    xor eax, eax
    out dx, al
    mov edx, 0x3fb
    mov al, 0x83
    out dx, al
    mov edx, 0x3f8
    mov al, 1
    out dx, al
    mov edx, 0x3f9
    xor eax, eax
    out dx, al
    mov edx, 0x3fb
    mov al, 3
    out dx, al
    mov edx, 0x3fa
    mov al, 7
    out dx, al

    // Both PICs masked; the local APIC enabled in software, with the spurious vector 255.
    mov al, 0xff
    out 0x21, al
    out 0xa1, al
    cmp qword ptr [{HAS_APIC}], 0
    je 1f
    mov eax, {APIC}
    mov dword ptr [rax + 0xf0], 0x1ff
1:

    mov eax, 1
    cpuid
    bt ecx, 5
    lea rsi, [rip + l1_text_no_vmx]
    jnc l1_give_up

    // IA32_FEATURE_CONTROL: lock, and VMX outside SMX. Firmware may have locked it already.
    mov ecx, 0x3a
    rdmsr
    test al, 1
    jnz 1f
    or al, 5
    wrmsr
1:
    mov rax, cr4
    or eax, 0x2000                  // VMXE
    mov cr4, rax
    mov ecx, 0x480                  // IA32_VMX_BASIC
    rdmsr
    and eax, 0x7fffffff
    mov [{VMXON_REGION}], eax
    mov [{VMCS}], eax
    mov qword ptr [{VMXON_POINTER}], {VMXON_REGION}
    mov qword ptr [{VMCS_POINTER}], {VMCS}
    vmxon [{VMXON_POINTER}]
    lea rsi, [rip + l1_text_vmxon]
    jbe l1_give_up
    mov rax, [{MODE}]
    dec rax
    js l1_scenarios
    jz l1_storm
    dec rax
    jz l1_work
    jmp l1_spin

// Prints the text at RSI and ends the machine.
l1_give_up:
    call l1_print
    call l1_end_line

// Ends the machine in each way that one of those that it runs on knows.
l1_end:
    mov edx, 0x3fd
1:  in al, dx
    test al, 0x40                   // the last byte has left the serial port
    jz 1b
    // Bochs.
    lea rsi, [rip + l1_text_shutdown]
    mov ecx, 8
    mov edx, 0x8900
    rep outsb
    // isa-debug-exit.
    mov edx, 0xf4
    xor eax, eax
    out dx, al
    // The keyboard controller resets a PC.
    mov al, 0xfe
    out 0x64, al
    cli
1:  hlt
    jmp 1b

l1_text_no_vmx: .asciz "no VMX: CPUID.1:ECX.VMX is 0"
l1_text_vmxon: .asciz "VMXON failed"
l1_text_shutdown: .ascii "Shutdown"
