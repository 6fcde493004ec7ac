; ---
; about = "code runs from a read-only slot; a write to it leaves the guest as MMIO and changes nothing"
; [machine]
; mode = "real16"
; load_at = 0xf000
; [[machine.memory.piece]]
; at = 0x0
; size = "4K"
; [[machine.memory.piece]]
; at = 0xf000
; size = "4K"
; read_only = true
; [expect]
; exits = ["mmio write 0xf800/1 <- 55", "hlt"]
; output = ""
; memory = { "0x100" = "c3", "0xf800" = "c3" }
; registers = { rax = 0xc3 }
; stop = "halted"
; exit_code = 10
; ---
;
; A ROM: KVM_MEM_READONLY lets the guest read and execute at full speed, while every write becomes
; an MMIO exit that a flash device could act upon. Here nobody takes it. The host itself may write
; (it has loaded this image there).

        bits    16
        org     0xf000

        mov     byte [rom], 0x55        ; exit 1: the write reaches the host, not the memory
        mov     al, [rom]               ; no exit: reads are served from the slot; still 0xc3
        mov     [0x100], al             ; in RAM, for the host to see
        xor     ah, ah
        hlt

        times   0x800 - ($ - $$) db 0
rom:    db      0xc3                    ; at 0xf800
