; Process 1 of a Linux guest, as small as a program can be: prints a line and restarts the machine.
;
; An ELF executable by hand (System V ABI, chapters 4 and 5): one header, one segment with all of the file. System calls
; are numbered in arch/x86/entry/syscalls/syscall_64.tbl of the Linux kernel.
bits 64
org 0x400000

header:
    db 0x7f, "ELF", 2, 1, 1             ; 64 bits, little-endian, version 1
    times 16 - ($ - header) db 0
    dw 2, 62                            ; an executable, for x86-64
    dd 1
    dq start, loaded - $$, 0       ; entry; where the segments' headers are, and those of sections: nowhere
    dd 0
    dw 64, 56, 1, 64, 0, 0              ; sizes of the headers; one segment, no sections
loaded:
    dd 1, 5                             ; to be loaded, readable and executable
    dq 0, $$, $$, whole, whole, 0x1000

start:
    mov eax, 1                          ; write(1, text, length)
    mov edi, 1
    lea rsi, [rel text]
    mov edx, length
    syscall
    mov eax, 169                        ; reboot(LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART)
    mov edi, 0xfee1dead
    mov esi, 672274793
    mov edx, 0x01234567
    syscall
    jmp $

text: db "MARKER", 10
length equ $ - text
whole equ $ - $$
