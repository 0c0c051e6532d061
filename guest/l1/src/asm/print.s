// Output on the first serial port. A line is gathered and written as a whole, 16 bytes at a time,
// which is what the port's FIFO takes: each access is an exit where a VMM makes the port.
// All of these keep every register but RAX, RCX, RDX, RSI and RDI.

// Appends the string at RSI, which ends with a zero byte.
l1_print:
    mov rdi, [{LINE_END}]
1:  lodsb
    test al, al
    jz 2f
    stosb
    jmp 1b
2:  mov [{LINE_END}], rdi
    ret

// Appends RAX in hexadecimal, without leading zeros.
l1_print_hex:
    mov rdi, [{LINE_END}]
    bsr rcx, rax
    jnz 1f
    xor ecx, ecx
1:  and ecx, 0x3c                   // the bit at which the first digit begins
2:  mov rdx, rax
    shr rdx, cl
    and edx, 15
    add dl, 48
    cmp dl, 57
    jbe 3f
    add dl, 39
3:  mov [rdi], dl
    inc rdi
    sub ecx, 4
    jns 2b
    mov [{LINE_END}], rdi
    ret

// Appends a line feed, and writes the line.
l1_end_line:
    mov rdi, [{LINE_END}]
    mov byte ptr [rdi], 10
    inc rdi
    mov esi, {LINE}
    mov [{LINE_END}], rsi
1:  mov edx, 0x3fd
2:  in al, dx
    test al, 0x20                   // the transmitter is empty
    jz 2b
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, 16
    jbe 3f
    mov ecx, 16
3:  mov edx, 0x3f8
    rep outsb
    cmp rsi, rdi
    jb 1b
    ret
