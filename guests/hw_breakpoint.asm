; ---
; about = "a hardware execution breakpoint stops the machine before the instruction, and names RIP"
; needs = ["hw-breakpoint"]
; [machine]
; mode = "long64"
; [machine.debug]
; breakpoints = [0x10000c]
; [expect]
; exits = ["out 0x80/1 <- 01", "debug 0x10000c"]
; output = ""
; registers = { rax = 1, rbx = 5 }
; stop = { kind = "debug", rip = "0x10000c" }
; exit_code = 16
; ---
;
; The host puts the address into a debug register of the vCPU (KVM_GUESTDBG_USE_HW_BP). Nothing in
; memory is changed, so the guest can't see it. The instruction at the breakpoint has not run when
; the machine stops.

        bits    64
        org     0x100000

        mov     ebx, 5                  ; 5 bytes
        mov     eax, 1                  ; 5 bytes
        out     0x80, al                ; 2 bytes
here:
        mov     ebx, 6                  ; never run
        hlt

%if here - $$ != 0xc
%error "the breakpoint in the header is not at this instruction"
%endif
