; ---
; about = "an MMIO access across the end of a page arrives as two, also with odd widths"
; [machine]
; mode = "long64"
; [[machine.stub]]
; mmio = 0xc0000ff0
; len = 0x20
; answers = [0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8]
; [expect]
; exits = [
;   "mmio write 0xc0000fff/1 <- 88",
;   "mmio write 0xc0001000/1 <- 77",
;   "mmio write 0xc0000ffe/2 <- 88 77",
;   "mmio write 0xc0001000/2 <- 66 55",
;   "mmio write 0xc0000ffd/3 <- 88 77 66",
;   "mmio write 0xc0001000/5 <- 55 44 33 22 11",
;   "mmio read 0xc0000ffd/3 -> d1 d2 d3",
;   "mmio read 0xc0001000/5 -> d4 d5 d6 d7 d8",
;   "hlt",
; ]
; output = ""
; memory = { "0x6000" = "d1 d2 d3 d4 d5 d6 d7 d8" }
; stop = "halted"
; exit_code = 10
; ---
;
; Neighbouring virtual pages need not be neighbours in physical memory, so KVM splits an access at
; the page border. The pieces are what is left on either side: widths of 3 and 5 bytes exist, and a
; device must bear them.

        bits    64
        org     0x100000

RESULT  equ     0x6000

        mov     ebx, 0xc0001000         ; the second page
        mov     rax, 0x1122334455667788
        mov     [rbx - 1], ax           ; 1 + 1
        mov     [rbx - 2], eax          ; 2 + 2
        mov     [rbx - 3], rax          ; 3 + 5
        mov     rax, [rbx - 3]
        mov     [RESULT], rax
        hlt
