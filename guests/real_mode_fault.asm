; ---
; about = "real mode: a division by zero goes through the vector table at address 0, and back by iret"
; [machine]
; mode = "real16"
; [machine.memory]
; size = "64K"
; [expect]
; exits = ["out 0x3f8/1 <- \"#DE at the div\\n\"", "hlt"]
; output = "#DE at the div\n"
; registers = { rbx = 0 }
; stop = "halted"
; exit_code = 10
; ---
;
; The first four bytes of memory are the address, offset and segment, of the handler for vector 0;
; the next four for vector 1, and so on (SDM 3A 22.1.4). There is no error code, and the frame
; is three words: IP, CS, FLAGS.

%include "include/serial.inc"

        bits    16
        org     0x7c00

        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7000
        mov     word [0], on_divide_error
        mov     word [2], 0             ; segment
        mov     ax, 84
        xor     dx, dx
        xor     bx, bx
the_div:
        div     bx
after_div:
        hlt

on_divide_error:
        mov     bp, sp
        cmp     word [bp], the_div
        jne     .elsewhere
        PRINT   "#DE at the div", 10
        mov     word [bp], after_div
        iret
.elsewhere:
        PRINT   "#DE, but elsewhere", 10
        hlt
