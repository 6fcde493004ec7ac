; ---
; about = "three single steps: a debug exit after each instruction, the last one stops and names RIP"
; [machine]
; mode = "real16"
; load_at = 0x1000
; [machine.debug]
; step = 3
; [expect]
; exits = ["debug 0x1003", "debug 0x1006", "debug 0x1008"]
; output = ""
; registers = { rax = 7, rbx = 2 }
; stop = { kind = "debug", rip = "0x1008" }
; exit_code = 16
; ---
;
; KVM_GUESTDBG_SINGLESTEP sets the trap flag behind the guest's back: each instruction runs, then
; the host is asked. RIP is that of the next instruction.

        bits    16
        org     0x1000

        mov     ax, 5                   ; 0x1000, step 1
        mov     bx, 2                   ; 0x1003, step 2
        add     ax, bx                  ; 0x1006, step 3
        inc     ax                      ; 0x1008, never run
        hlt
