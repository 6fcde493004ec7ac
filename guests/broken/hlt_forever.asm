; ---
; about = "sleeps for an interrupt in a machine that has no interrupt controller"
; [machine]
; mode = "long64"
; [expect]
; exits = ["hlt"]
; output = ""
; stop = "halted"
; exit_code = 10
; explain = [
;   "hlt at 0x100001, with interrupts on (IF=1), in a machine that has no interrupt controller",
; ]
; ---
;
; The mistake: a machine is configured without interrupt controllers, and its kernel waits for the timer.
;
; What the processor does: `hlt` with interrupts on sleeps until one comes (SDM 2A "HLT"). There is
; nothing here that could send one. With interrupts off the same `hlt` would be a way to say: the end.

        bits    64
        org     0x100000

.idle:  sti
        hlt
        jmp     .idle
