; ---
; about = "a 16-bit loop sums 0..=20 and shows the sum, 210, in one port write"
; [machine]
; mode = "real16"
; load_at = 0x0
; [machine.memory]
; size = "4K"
; [expect]
; exits = ["out 0xeff/1 <- d2", "hlt"]
; output = ""
; registers = { rax = 210, rcx = 0 }
; stop = "halted"
; exit_code = 10
; ---
;
; Real computation between two exits: the loop runs without the host seeing any of it. One page of
; RAM is enough. Nobody listens at port 0xeff: the machine drops the write, the trace has it all the
; same.

        bits    16
        org     0

        xor     ax, ax
        mov     cx, 20
.add:   add     ax, cx                  ; 20 + 19 + ... + 1 (the term 0 adds nothing)
        loop    .add
        mov     dx, 0xeff               ; above 0xff the port number has to be in dx
        out     dx, al                  ; 210 still fits in a byte
        hlt
