; ---
; about = "MMIO writes and reads, 1, 2, 4 and 8 bytes wide"
; [machine]
; mode = "long64"
; [[machine.stub]]
; mmio = 0xc0000000
; len = 8
; answers = [0xa1, 0xb1, 0xb2, 0xc1, 0xc2, 0xc3, 0xc4, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8]
; [expect]
; exits = [
;   "mmio write 0xc0000000/1 <- 88",
;   "mmio write 0xc0000000/2 <- 88 77",
;   "mmio write 0xc0000000/4 <- 88 77 66 55",
;   "mmio write 0xc0000000/8 <- 88 77 66 55 44 33 22 11",
;   "mmio read 0xc0000000/1 -> a1",
;   "mmio read 0xc0000000/2 -> b1 b2",
;   "mmio read 0xc0000000/4 -> c1 c2 c3 c4",
;   "mmio read 0xc0000000/8 -> d1 d2 d3 d4 d5 d6 d7 d8",
;   "hlt",
; ]
; output = ""
; memory = { "0x6000" = "a1 b1 b2 c1 c2 c3 c4 d1 d2 d3 d4 d5 d6 d7 d8" }
; stop = "halted"
; exit_code = 10
; ---
;
; Device registers in memory are reached by ordinary instructions; KVM decodes them and hands the
; host address, width and bytes. 0xc0000000 is the start of the gap that RAM leaves below 4 GiB.

        bits    64
        org     0x100000

RESULT  equ     0x6000

        mov     ebx, 0xc0000000
        mov     rax, 0x1122334455667788
        mov     [rbx], al
        mov     [rbx], ax
        mov     [rbx], eax
        mov     [rbx], rax

        mov     al, [rbx]
        mov     [RESULT], al
        mov     ax, [rbx]
        mov     [RESULT + 1], ax
        mov     eax, [rbx]
        mov     [RESULT + 3], eax
        mov     rax, [rbx]
        mov     [RESULT + 7], rax
        hlt
