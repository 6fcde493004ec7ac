; ---
; about = "a greeting by the rules: asks the serial port before each byte whether it takes one"
; [machine]
; mode = "long64"
; [expect]
; exits = [
;   "in 0x3fd/1 -> 60", "out 0x3f8/1 <- 48",
;   "in 0x3fd/1 -> 60", "out 0x3f8/1 <- 69",
;   "in 0x3fd/1 -> 60", "out 0x3f8/1 <- 0a",
;   "in 0x3fd/1 -> 60",
;   "hlt",
; ]
; output = "Hi\n"
; stop = "halted"
; exit_code = 10
; ---
;
; What a driver for a real 16550 does: bit 5 of the line status register says that the port takes a byte,
; bit 6 that all have gone out (PC16550D data sheet, 8.4). Here both are always so: it is ready at the
; first question.

%include "include/serial.inc"

LSR_TAKES_BYTE equ 1 << 5
LSR_ALL_SENT equ 1 << 6

        bits    64
        org     0x100000

        mov     esi, text
        mov     ebx, text_end - text
.byte:  mov     edx, COM1_LSR
.wait:  in      al, dx
        test    al, LSR_TAKES_BYTE
        jz      .wait
        lodsb
        mov     edx, COM1
        out     dx, al
        dec     ebx
        jnz     .byte
        mov     edx, COM1_LSR
.sent:  in      al, dx
        test    al, LSR_ALL_SENT
        jz      .sent
        hlt

text:   db      "Hi", 10
text_end:
