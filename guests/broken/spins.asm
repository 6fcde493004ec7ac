; ---
; about = "waits for a flag that only an interrupt could set, with interrupts off"
; [machine]
; mode = "long64"
; [machine.budget]
; wall = "200ms"
; [expect]
; exits = []
; output = ""
; stop = { kind = "budget", budget = "wall" }
; exit_code = 20
; explain = [
;   "interrupts are off (IF=0)",
;   "it spins in",
; ]
; ---
;
; The mistake: the loop waits for what a handler of an interrupt would do, and `sti` was forgotten. A
; deadlock looks the same: a lock that its own holder waits for.
;
; What happens: nothing, and no exit ever says so. The host ends it when its time is used up.

        bits    64
        org     0x100000

DONE    equ     0x6000

.wait:  pause
        cmp     byte [DONE], 1
        jne     .wait
        hlt
