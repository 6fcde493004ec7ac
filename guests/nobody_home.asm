; ---
; about = "where no device is, reads give all ones and writes vanish: ports and MMIO"
; [machine]
; mode = "long64"
; [expect]
; exits = [
;   "in 0x1000/1 -> ff",
;   "in 0x1000/4 -> ff ff ff ff",
;   "out 0x1000/1 <- ff",
;   "mmio read 0xd0000000/8 -> ff ff ff ff ff ff ff ff",
;   "mmio write 0xd0000000/8 <- ff ff ff ff ff ff ff ff",
;   "mmio read 0xd0000000/1 -> ff",
;   "hlt",
; ]
; output = ""
; registers = { rax = 0xff, rbx = "0xffffffffffffffff" }
; stop = "halted"
; exit_code = 10
; ---
;
; On a bus without an answer the lines float high. Probing for hardware depends on it: what reads as
; 0xff is not there.

        bits    64
        org     0x100000

        mov     edx, 0x1000
        in      al, dx
        in      eax, dx
        out     dx, al
        mov     ebx, 0xd0000000
        mov     rax, [rbx]
        mov     [rbx], rax
        mov     cl, [rbx]               ; the write before has left no trace
        mov     rbx, rax
        movzx   eax, cl
        hlt
