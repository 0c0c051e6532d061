// L1 for measurements: one that works and has nothing to do with VMX meanwhile; and one that launches
// an L2 that spins, with an interrupt for L1 that waits already.

l1_work:
1:  cmp qword ptr [{SHARED_STOP}], 0
    jne l1_stopped
    mov ecx, {WORK}
2:  dec ecx
    jnz 2b
    inc qword ptr [{SHARED_ITERATIONS}]
    jmp 1b

l1_spin:
    mov ebx, {SCENARIOS}
    call l1_set_up_vmcs
    jc l1_end
    mov rsi, [rbx + {R_FIELDS}]
    call l1_write_fields
1:  cmp qword ptr [{SHARED_STOP}], 0
    jne l1_stopped
    mov eax, 1                      // an external interrupt
    call l1_raise
    .byte 0xb8                      // MOV EAX, of a sum that the assembler takes for an address
    .long {CODE} + (guest_l1_programs - guest_l1_start) + {SPIN_PROGRAM} * {PROGRAM}
    mov ecx, 0x681e
    vmwrite rcx, rax
    call l1_enter
    test eax, eax
    jnz l1_end
    inc qword ptr [{SHARED_EXITS}]
    call l1_handle_exit
    jc l1_end
    inc qword ptr [{SHARED_ITERATIONS}]
    jmp 1b

l1_stopped:
    mov qword ptr [{SHARED_STATE}], 1
    jmp l1_end
