; ---
; about = "RAM above 4 GiB in a slot of its own, written and read where the gap below it is MMIO"
; [machine]
; mode = "long64"
; [[machine.memory.piece]]
; at = 0x0
; size = "2M"
; [[machine.memory.piece]]
; at = 0x100000000
; size = "2M"
; [machine.paging]
; tables_at = 0x9000
; [[machine.paging.map]]
; virt = 0x0
; phys = 0x0
; size = "2M"
; page = "2M"
; access = "rwx"
; [[machine.paging.map]]
; virt = 0xffe00000              # the last 2 MiB of the gap, and the first of the RAM behind it
; phys = 0xffe00000
; size = "4M"
; page = "2M"
; access = "rw"
; [expect]
; exits = [
;   "mmio write 0xfffffffc/4 <- 88 77 66 55",
;   "hlt",
; ]
; output = ""
; registers = { rdi = 0x400000 }
; stop = "halted"
; exit_code = 10
; [expect.memory]
; "0x100000000" = "44 33 22 11"
; "0x1001ffff8" = "99 99 99 99 99 99 99 99"
; "0x1ffff8" = "00 00 00 00 00 00 00 00"
; ---
;
; A PC keeps the top of the first 4 GiB free for devices; RAM that would lie there goes on behind.
; One store here has its first four bytes in the gap, an MMIO exit, and its last four in RAM.

        bits    64
        org     0x100000

        mov     ebx, 1
        shl     rbx, 32                 ; 4 GiB
        mov     rax, 0x1122334455667788
        mov     [rbx - 4], rax
        mov     rax, 0x9999999999999999
        mov     [rbx + 0x1ffff8], rax   ; the end of the upper piece: 4 GiB lower there is other memory
        hlt
