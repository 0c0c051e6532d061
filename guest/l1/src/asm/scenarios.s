// L1: runs one scenario after the other and prints what came of each entry.
// RBX points to the record of the scenario (see `record.rs`) all the time.

l1_scenarios:
    mov ebx, {SCENARIOS}
1:  cmp qword ptr [rbx + {R_NAME}], 0
    je 2f
    call l1_scenario
    add rbx, {R_SIZE}
    jmp 1b
2:  lea rsi, [rip + l1_text_done]
    call l1_print
    call l1_end_line
    jmp l1_end

l1_scenario:
    lea rsi, [rip + l1_text_scenario]
    call l1_print
    mov rsi, [rbx + {R_NAME}]
    call l1_print
    call l1_end_line

    cmp qword ptr [{BARE}], 0
    je 1f
    test qword ptr [rbx + {R_FLAGS}], 4
    jz 1f
    lea rsi, [rip + l1_text_hangs]
    call l1_print
    jmp l1_end_line

1:  mov ecx, 0x485                  // IA32_VMX_MISC
    rdmsr
    not eax
    and eax, [rbx + {R_MISC}]
    jz 1f
    push rax
    lea rsi, [rip + l1_text_misc]
    call l1_print
    pop rax
    call l1_print_hex
    jmp l1_end_line

1:  mov edi, {L1_COUNTS}
    mov ecx, 2 * 256
    xor eax, eax
    rep stosq
    mov qword ptr [{EXITS}], 0
    mov qword ptr [{L2_PROGRESS}], 0
    call l1_set_up_vmcs
    jc 9f

    // So that it is VMRESUME that enters: once through an L2 that only calls.
    test qword ptr [rbx + {R_FLAGS}], 1
    jz 1f
    call l1_enter
    test eax, eax
    jnz l1_entry_failed
    mov ecx, 0x4402
    vmread rax, rcx
    cmp eax, 18
    jne 8f
1:  mov rsi, [rbx + {R_FIELDS}]
    call l1_write_fields
    mov rax, [rbx + {R_EVENT}]
    call l1_raise

3:  call l1_enter
    test eax, eax
    jnz l1_entry_failed
    inc qword ptr [{EXITS}]
    call l1_print_exit
    call l1_handle_exit
    jc 9f
    mov rax, [{EXITS}]
    cmp rax, [rbx + {R_MOST_EXITS}]
    jb 3b
8:  lea rsi, [rip + l1_text_gave_up]
    call l1_print
    call l1_end_line
9:  mov eax, {APIC}                 // a timer that has fired is over
    mov dword ptr [rax + 0x380], 0
    mov dword ptr [rax + 0x320], 0x10000
    // What still waits for L1 comes now, and is seen in the counts.
    call l1_allow_nmis
    call l1_take_interrupts
    jmp l1_print_counts

l1_entry_failed:
    dec eax
    jnz 1f
    lea rsi, [rip + l1_text_fail_invalid]
    call l1_print
    call l1_end_line
    jmp 9b
1:  lea rsi, [rip + l1_text_fail_valid]
    call l1_print
    mov ecx, 0x4400
    vmread rax, rcx
    call l1_print_hex
    call l1_end_line
    jmp 9b

// A VMCS with the scenario's controls and the fields that all scenarios share. CF: the processor
// lacks a control.
l1_set_up_vmcs:
    vmclear [{VMCS_POINTER}]
    jbe 8f
    vmptrld [{VMCS_POINTER}]
    jbe 8f
    mov qword ptr [{LAUNCHED}], 0
    mov r10, [rbx + {R_PIN}]
    mov ecx, 0x481
    mov r9d, 0x4000
    call l1_set_control
    jc 9f
    mov r10, [rbx + {R_PRIMARY}]
    mov ecx, 0x482
    mov r9d, 0x4002
    call l1_set_control
    jc 9f
    mov r10, [rbx + {R_EXIT}]
    mov ecx, 0x483
    mov r9d, 0x400c
    call l1_set_control
    jc 9f
    mov r10, [rbx + {R_ENTRY}]
    mov ecx, 0x484
    mov r9d, 0x4012
    call l1_set_control
    jc 9f
    mov r10, [rbx + {R_SECONDARY}]
    test r10, r10
    jz 1f
    mov ecx, 0x48b
    mov r9d, 0x401e
    call l1_set_control
    jc 9f
1:  mov rax, cr0
    mov ecx, 0x6c00
    vmwrite rcx, rax
    mov ecx, 0x6800
    vmwrite rcx, rax
    mov rax, cr3
    mov ecx, 0x6c02
    vmwrite rcx, rax
    mov ecx, 0x6802
    vmwrite rcx, rax
    mov rax, cr4
    mov ecx, 0x6c04
    vmwrite rcx, rax
    mov ecx, 0x6804
    vmwrite rcx, rax
    mov esi, {FIELDS}
    call l1_write_fields
    clc
    ret
8:  lea rsi, [rip + l1_text_vmptrld]
    call l1_print
    call l1_end_line
    stc
9:  ret

// Writes field R9 with the control bits R10 and those that the MSR ECX wants to be 1.
l1_set_control:
    rdmsr
    mov r11, r10
    not edx
    and r11d, edx
    jnz 1f
    or eax, r10d
    vmwrite r9, rax
    clc
    ret
1:  lea rsi, [rip + l1_text_lacks]
    call l1_print
    mov rax, r9
    call l1_print_hex
    lea rsi, [rip + l1_text_bits]
    call l1_print
    mov rax, r11
    call l1_print_hex
    call l1_end_line
    stc
    ret

// Writes the fields of the list at RSI: pairs of an encoding and a value, ended by -1.
l1_write_fields:
1:  mov rax, [rsi]
    cmp rax, -1
    je 2f
    vmwrite rax, [rsi + 8]
    lea rsi, [rsi + 16]
    ja 1b
    push rsi
    push rax
    lea rsi, [rip + l1_text_vmwrite]
    call l1_print
    pop rax
    call l1_print_hex
    call l1_end_line
    pop rsi
    jmp 1b
2:  ret

// Enters L2. EAX afterwards: 0 for an exit, 1 for VMfailInvalid, 2 for VMfailValid.
l1_enter:
    mov [{SAVED_RSP}], rsp
    mov [{SAVED_RBX}], rbx
    cmp qword ptr [{LAUNCHED}], 0
    jne 1f
    mov qword ptr [{LAUNCHED}], 1
    test qword ptr [rbx + {R_FLAGS}], 2
    jnz 2f
    vmlaunch
    jmp 4f
2:  sti                             // which takes effect after the next instruction: in L2
    vmlaunch
    jmp 4f
1:  test qword ptr [rbx + {R_FLAGS}], 2
    jnz 3f
    vmresume
    jmp 4f
3:  sti
    vmresume
4:  mov eax, 1
    jc 5f
    mov eax, 2
5:  cli
    ret

// Where exits come to.
.balign 16
.globl guest_l1_exit
.hidden guest_l1_exit
guest_l1_exit:
    cld
    mov rsp, [{SAVED_RSP}]
    mov rbx, [{SAVED_RBX}]
    xor eax, eax
    ret

// One line with the fields that tell of the exit: name and encoding in turn. An entry that fails
// leaves those that tell of events as they were.
l1_print_exit:
    lea r8, [rip + l1_shown]
    mov ecx, 0x4402
    vmread r11, rcx
1:  mov r9d, [r8]
    test r9d, r9d
    jz 2f
    bt r11, 31
    jnc 5f
    cmp r9d, 0x4404
    je 4f
    cmp r9d, 0x4408
    je 4f
5:  vmread rax, r9
    mov r10, rax
    mov eax, [r8 + 4]
    lea rsi, [rip + l1_shown]
    add rsi, rax
    call l1_print
    mov rax, r10
    call l1_print_hex
    // An error code, where the information says that there is one.
    lea rcx, [r9 + 2]
    cmp r9d, 0x4404
    je 3f
    cmp r9d, 0x4408
    jne 4f
3:  and r10d, 0x80000800
    cmp r10d, 0x80000800
    jne 4f
    vmread rax, rcx
    push rax
    lea rsi, [rip + l1_text_slash]
    call l1_print
    pop rax
    call l1_print_hex
4:  add r8, 8
    jmp 1b
2:  jmp l1_end_line

.macro shown encoding, label
    .long \encoding, \label - l1_shown
.endm
.balign 4
l1_shown:
    shown 0x4402, l1_name_reason
    shown 0x6400, l1_name_qualification
    shown 0x4404, l1_name_interruption
    shown 0x4408, l1_name_vectoring
    shown 0x681e, l1_name_rip
    shown 0x681c, l1_name_rsp
    shown 0x6820, l1_name_rflags
    shown 0x4826, l1_name_activity
    shown 0x4824, l1_name_blocking
    shown 0x6822, l1_name_debug
    shown 0x4016, l1_name_entry
    .long 0
l1_name_reason: .asciz "  exit reason "
l1_name_qualification: .asciz " qualification "
l1_name_interruption: .asciz " interruption "
l1_name_vectoring: .asciz " vectoring "
l1_name_rip: .asciz " rip "
l1_name_rsp: .asciz " rsp "
l1_name_rflags: .asciz " rflags "
l1_name_activity: .asciz " activity "
l1_name_blocking: .asciz " blocking "
l1_name_debug: .asciz " debug "
l1_name_entry: .asciz " injecting "

// Does what a hypervisor does after the exit. CF: the scenario is over.
l1_handle_exit:
    mov ecx, 0x4402
    vmread rax, rcx
    bt eax, 31                      // the entry has failed
    jc 9f
    movzx eax, ax
    cmp eax, 0
    je l1_exit_exception
    cmp eax, 1
    je l1_exit_interrupt
    cmp eax, 3
    je l1_exit_init
    cmp eax, 7
    je l1_exit_interrupt_window
    cmp eax, 8
    je l1_exit_nmi_window
    cmp eax, 10
    je l1_exit_instruction
    cmp eax, 12
    je l1_exit_instruction
    cmp eax, 37
    je l1_exit_trap_flag
    cmp eax, 52
    je l1_exit_timer
    // VMCALL is how an L2 ends; nothing else is expected.
    stc
9:  ret

// Delivers once more what an exit has kept from being delivered.
l1_go_on:
    mov ecx, 0x4408
    vmread rax, rcx
    bt eax, 31
    jnc 9f
    and eax, ~0x1000                // undefined, and reserved in the field for entries
    mov ecx, 0x4016
    vmwrite rcx, rax
    bt eax, 11
    jnc 1f
    mov ecx, 0x440a
    vmread rax, rcx
    mov ecx, 0x4018
    vmwrite rcx, rax
1:  mov ecx, 0x440c
    vmread rax, rcx
    mov ecx, 0x401a
    vmwrite rcx, rax
    clc
9:  ret

l1_exit_exception:
    mov ecx, 0x4404
    vmread rax, rcx
    and eax, 0x7ff
    cmp eax, 0x202                  // NMI
    stc
    jne 9f
    inc qword ptr [{L1_COUNTS} + 2 * 8]
    mov rax, [{SHARED_EXITS}]
    mov [{SHARED_NMI_EXIT}], rax
    inc qword ptr [{SHARED_NMIS}]
    call l1_allow_nmis
    jmp l1_go_on
9:  ret

l1_exit_interrupt:
    mov ecx, 0x4404
    vmread rax, rcx
    bt eax, 31
    jc 1f
    call l1_take_interrupts
    jmp l1_go_on
1:  movzx eax, al                   // acknowledged with the exit
    inc qword ptr [{L1_COUNTS} + rax * 8]
    mov rax, [{SHARED_EXITS}]
    mov [{SHARED_INTERRUPT_EXIT}], rax
    inc qword ptr [{SHARED_INTERRUPTS}]
    call l1_end_of_interrupt
    jmp l1_go_on

l1_exit_init:
    inc qword ptr [{L1_COUNTS}]     // vector 0 is L1's for nothing else
    jmp l1_go_on

l1_exit_interrupt_window:
    mov edx, 1 << 2
    jmp 1f
l1_exit_nmi_window:
    mov edx, 1 << 22
    jmp 1f
l1_exit_trap_flag:
    mov edx, 1 << 27
1:  mov ecx, 0x4002
2:  vmread rax, rcx
    not edx
    and eax, edx
    vmwrite rcx, rax
    jmp l1_go_on
l1_exit_timer:
    mov edx, 1 << 6
    mov ecx, 0x4000
    jmp 2b

l1_exit_instruction:
    mov ecx, 0x440c
    vmread rdx, rcx
    mov ecx, 0x681e
    vmread rax, rcx
    add rax, rdx
    vmwrite rcx, rax
    mov ecx, 0x4826                 // HLT has not halted it
    xor eax, eax
    vmwrite rcx, rax
    jmp l1_go_on

// How often each vector came, first in L1, then in L2.
l1_print_counts:
    lea rsi, [rip + l1_text_counts]
    call l1_print
    mov r8d, {L1_COUNTS}
    call 1f
    lea rsi, [rip + l1_text_l2]
    call l1_print
    mov r8d, {L2_COUNTS}
    call 1f
    jmp l1_end_line
1:  xor r9d, r9d
2:  mov r10, [r8 + r9 * 8]
    test r10, r10
    jz 3f
    lea rsi, [rip + l1_text_space]
    call l1_print
    mov rax, r9
    call l1_print_hex
    lea rsi, [rip + l1_text_times]
    call l1_print
    mov rax, r10
    call l1_print_hex
3:  inc r9d
    cmp r9d, 256
    jb 2b
    ret

l1_text_scenario: .asciz "scenario "
l1_text_done: .asciz "done"
l1_text_gave_up: .asciz "  too many exits"
l1_text_fail_invalid: .asciz "  VMfailInvalid"
l1_text_fail_valid: .asciz "  VMfailValid "
l1_text_vmptrld: .asciz "  VMPTRLD failed"
l1_text_hangs: .asciz "  skipped: this machine would hang"
l1_text_misc: .asciz "  skipped: IA32_VMX_MISC lacks bits "
l1_text_lacks: .asciz "  skipped: field "
l1_text_bits: .asciz " lacks bits "
l1_text_vmwrite: .asciz "  VMWRITE failed: field "
l1_text_slash: .asciz "/"
l1_text_counts: .asciz "  L1"
l1_text_l2: .asciz "; L2"
l1_text_space: .asciz " "
l1_text_times: .asciz "x"
