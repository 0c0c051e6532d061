// L1's interrupts and exceptions, and how it raises those that are to wait while L2 is launched.

// One stub for each vector: it pushes the vector, below an error code or a zero.
.balign 16
.globl guest_l1_stubs
.hidden guest_l1_stubs
guest_l1_stubs:
.set l1_vector, 0
.rept 256
    .balign 16
    .if l1_vector < 32 && (({ERROR_CODES} >> l1_vector) & 1)
    .else
    push 0
    .endif
    .if l1_vector < 128
    push l1_vector
    .else
    .byte 0x68
    .long l1_vector
    .endif
    .if l1_vector == 2
    jmp l1_nmi
    .elseif l1_vector < 32
    jmp l1_exception
    .else
    jmp l1_interrupt
    .endif
    .set l1_vector, l1_vector + 1
.endr

// An interrupt: counted, with the number of nested exits there had been, which is there when the VMM
// sees the count.
l1_interrupt:
    push rax
    mov rax, [rsp + 8]
    inc qword ptr [{L1_COUNTS} + rax * 8]
    mov rax, [{SHARED_EXITS}]
    mov [{SHARED_INTERRUPT_EXIT}], rax
    inc qword ptr [{SHARED_INTERRUPTS}]
    call l1_end_of_interrupt
    pop rax
    add rsp, 16
    iretq

l1_end_of_interrupt:
    cmp qword ptr [{HAS_APIC}], 0
    je 1f
    mov eax, {APIC}
    mov dword ptr [rax + 0xb0], 0
1:  ret

// The first NMI of two: it is not returned from, so that the second one waits. Else it is counted.
l1_nmi:
    cmp qword ptr [{NMI_STAYS}], 0
    jne 1f
    inc qword ptr [{L1_COUNTS} + 2 * 8]
    push rax
    mov rax, [{SHARED_EXITS}]
    mov [{SHARED_NMI_EXIT}], rax
    pop rax
    inc qword ptr [{SHARED_NMIS}]
    add rsp, 16
    iretq
1:  mov qword ptr [{NMI_STAYS}], 0
    mov rsp, [rsp + 40]
    jmp l1_in_nmi

// An exception in L1: there is none in a program without mistakes.
l1_exception:
    lea rsi, [rip + l1_text_exception]
    call l1_print
    mov rax, [rsp]
    call l1_print_hex
    lea rsi, [rip + l1_text_error]
    call l1_print
    mov rax, [rsp + 8]
    call l1_print_hex
    lea rsi, [rip + l1_text_rip]
    call l1_print
    mov rax, [rsp + 16]
    call l1_print_hex
    call l1_end_line
    jmp l1_end

// Allows NMIs again, as only IRET does.
l1_allow_nmis:
    pop rcx
    mov rax, rsp
    push 0x10
    push rax
    pushfq
    push 0x08
    push rcx
    iretq

// Takes interrupts that wait.
l1_take_interrupts:
    sti
    nop
    nop
    cli
    ret

// Makes the event in EAX wait for L1: nothing, an external interrupt, an NMI, INIT; or makes an
// external interrupt come soon.
l1_raise:
    mov edx, {APIC}
    cmp eax, 4
    je 5f
    cmp eax, 1
    jb 9f
    ja 2f
    mov dword ptr [rdx + 0x300], 0x44000 + {VECTOR}     // to itself, fixed
    jmp 3f
2:  mov ecx, [rdx + 0x20]           // its id; NMI and INIT need a destination
    and ecx, 0xff000000
    mov [rdx + 0x310], ecx
    cmp eax, 3
    je 4f
    mov qword ptr [{NMI_STAYS}], 1
    mov dword ptr [rdx + 0x300], 0x4400
1:  pause
    jmp 1b
l1_in_nmi:
    mov edx, {APIC}
    mov dword ptr [rdx + 0x300], 0x4400
    jmp 3f
5:  mov dword ptr [rdx + 0x3e0], 0xb                    // the bus clock as it is
    mov dword ptr [rdx + 0x320], {VECTOR}               // once
    mov dword ptr [rdx + 0x380], {TIMER_TICKS}
    ret
4:  mov dword ptr [rdx + 0x300], 0x4500
3:  mov eax, [rdx + 0x300]          // until it was sent
    test eax, 0x1000
    jnz 3b
9:  ret

l1_text_exception: .asciz "  exception "
l1_text_error: .asciz " error "
l1_text_rip: .asciz " rip "
