; ---
; about = "a loop that makes exits as fast as it can is ended by the exit budget, to the exit"
; [machine]
; mode = "long64"
; [machine.budget]
; exits = 1000
; [expect]
; exits = ["1000 * out 0x80/1 <- 00"]
; output = ""
; stop = { kind = "budget", budget = "exits" }
; exit_code = 18
; ---
;
; Port 0x80 takes the codes that a BIOS shows on a test card. Writing there costs nothing but the
; exit, which is why kernels have used it as a short delay.

        bits    64
        org     0x100000

        xor     eax, eax
.again: out     0x80, al
        jmp     .again
