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
; ---
;
; Without interrupts, exits or a hlt nothing inside gives control back. The host has to interrupt
; KVM_RUN from outside, by a signal to the vCPU's thread.

        bits    64
        org     0x100000

        jmp     $
