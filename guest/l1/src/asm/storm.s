// L1 for storms of events: launches L2 in a loop, with an injection each time, and keeps books.

l1_storm:
    mov ebx, {SCENARIOS}
    call l1_set_up_vmcs
    jc l1_end
    mov rsi, [rbx + {R_FIELDS}]
    call l1_write_fields
    mov r12d, {FIRST_VECTOR}
    // One iteration: inject, enter, and enter again until L2 calls.
1:  mov rax, [{SHARED_STOP}]
    test rax, rax
    jnz 8f
    mov eax, r12d
    bts eax, 31
    mov ecx, 0x4016
    vmwrite rcx, rax
    .byte 0xb8                      // MOV EAX, of a sum that the assembler takes for an address
    .long {CODE} + (guest_l1_programs - guest_l1_start) + {STORM_PROGRAM} * {PROGRAM}
    mov ecx, 0x681e
    vmwrite rcx, rax
    inc qword ptr [{SHARED_INJECTED}]
2:  call l1_enter
    test eax, eax
    jnz 9f
    inc qword ptr [{SHARED_EXITS}]
    mov ecx, 0x4402
    vmread rax, rcx
    cmp eax, 18
    je 3f
    call l1_handle_exit
    jnc 2b
    jmp 9f
3:  inc qword ptr [{SHARED_ITERATIONS}]
    inc r12d
    and r12d, 0x0f
    add r12d, {FIRST_VECTOR}
    jmp 1b
8:  mov qword ptr [{SHARED_STATE}], 1
    // What came too late for an exit, comes here.
    call l1_allow_nmis
    call l1_take_interrupts
    jmp l1_end
9:  // What it was: the kind of failure, or the exit's reason.
    mov [{SHARED_STATE} + 8], rax
    call l1_print_exit
    mov qword ptr [{SHARED_STATE}], 2
    jmp l1_end
