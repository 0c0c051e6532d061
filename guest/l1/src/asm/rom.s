// The last bytes of a ROM, from which a processor starts: copies the image that the ROM begins with
// to where it belongs, and enters it in 32-bit protected mode.

.balign 16
.globl guest_l1_rom
.hidden guest_l1_rom
guest_l1_rom:
.code16
l1_rom_start:
    cli
    cld
    // CS begins at 0xffff0000, and this code {ROM_STUB} bytes above that.
    .byte 0x66, 0x2e, 0x0f, 0x01, 0x16  // LGDT CS:, with a 32-bit base
    .word {ROM_STUB} + (l1_rom_gdtr - l1_rom_start)
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea
    .long 0xffff0000 + {ROM_STUB} + (l1_rom_protected - l1_rom_start)
    .word 0x18
.code32
l1_rom_protected:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esi, {ROM_IMAGE}
    mov edi, {CODE}
    mov ecx, {IMAGE_SIZE} / 4
    rep movsd
    mov dword ptr [{BARE}], 1
    xor ebx, ebx
    mov eax, {CODE}
    jmp eax
.balign 8
l1_rom_gdt:
    .quad 0, 0, 0x00cf93000000ffff, 0x00cf9b000000ffff
l1_rom_gdtr:
    .word 31
    .long 0xffff0000 + {ROM_STUB} + (l1_rom_gdt - l1_rom_start)
.globl guest_l1_rom_end
.hidden guest_l1_rom_end
guest_l1_rom_end:
.code64
