; ---
; about = "rep insb of 12 bytes: one exit that carries 12 accesses of one byte each"
; [machine]
; mode = "real16"
; [machine.memory]
; size = "64K"
; [[machine.stub]]
; port = 0x1000
; len = 1
; answers = [0x53, 0x74, 0x72, 0x61, 0x74, 0x61, 0x20, 0x69, 0x6e, 0x73, 0x62, 0x21]
; [expect]
; exits = ["in 0x1000/1 x12 -> 53 74 72 61 74 61 20 69 6e 73 62 21", "hlt"]
; output = ""
; memory = { "0x600" = "53 74 72 61 74 61 20 69 6e 73 62 21 00" }
; registers = { rcx = 0, rdi = 0x60c }
; stop = "halted"
; exit_code = 10
; ---
;
; For repeated input KVM reads ahead: it asks the host for as many units as fit before the end of
; the page (and in a page of its own), in one exit with `count` 12 and size 1. A VMM that takes it
; for one access of 12 bytes breaks every device; a device has to see 12 accesses of one byte, in
; order.

        bits    16
        org     0x7c00

        cld
        mov     dx, 0x1000
        mov     di, 0x600
        mov     cx, 12
        rep     insb                    ; port dx -> [es:di], cx times
        hlt
