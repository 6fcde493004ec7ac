; ---
; about = "a loop that never leaves the guest is ended by the time budget"
; [machine]
; mode = "long64"
; [machine.budget]
; wall = "200ms"
; [expect]
; exits = []
; output = ""
; stop = { kind = "budget", budget = "wall" }
; exit_code = 20
; explain = ["it spins in one instruction at 0x100000, and interrupts are off (IF=0)"]
; ---
;
; Without interrupts, exits or a hlt nothing inside gives control back. The host has to interrupt
; KVM_RUN from outside, by a signal to the vCPU's thread.

        bits    64
        org     0x100000

        jmp     $
