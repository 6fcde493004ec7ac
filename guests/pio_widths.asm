; ---
; about = "port output and input, 1, 2 and 4 bytes wide: each arrives in its own width, low byte first"
; [machine]
; mode = "long64"
; [[machine.stub]]
; port = 0x1000
; len = 4
; answers = [0xa1, 0xb1, 0xb2, 0xc1, 0xc2, 0xc3, 0xc4]
; [expect]
; exits = [
;   "out 0x1000/1 <- 44",
;   "out 0x1000/2 <- 44 33",
;   "out 0x1000/4 <- 44 33 22 11",
;   "in 0x1000/1 -> a1",
;   "in 0x1000/2 -> b1 b2",
;   "in 0x1000/4 -> c1 c2 c3 c4",
;   "hlt",
; ]
; output = ""
; memory = { "0x6000" = "a1 00 00 00 00 00 00 00 b1 b2 ff ff ff ff ff ff c1 c2 c3 c4 00 00 00 00" }
; stop = "halted"
; exit_code = 10
; ---
;
; Port accesses have three widths; there is no 8. An input of 1 or 2 bytes leaves the rest of the
; register as it was, one of 4 bytes clears the upper half of the 64-bit register, as every write to
; a 32-bit register does.

        bits    64
        org     0x100000

RESULT  equ     0x6000

        mov     edx, 0x1000
        mov     eax, 0x11223344
        out     dx, al
        out     dx, ax
        out     dx, eax

        xor     eax, eax
        in      al, dx
        mov     [RESULT], rax
        mov     rax, -1
        in      ax, dx
        mov     [RESULT + 8], rax
        mov     rax, -1
        in      eax, dx
        mov     [RESULT + 16], rax
        hlt
