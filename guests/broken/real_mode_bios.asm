; ---
; about = "real mode: a vector leads to where a PC has its BIOS, and this machine nothing"
; [machine]
; mode = "real16"
; [machine.memory]
; size = "64K"
; [expect]
; exits = ["internal error 1"]
; output = ""
; stop = "internal-error"
; exit_code = 22
; explain = [
;   "there is no RAM at 0xfe000",
; ]
; ---
;
; The mistake: the program counts on a BIOS. Here it copies the vector that many of them have for
; interrupt 6, F000:E000; there is no such memory in this machine, let alone a program in it.
;
; What the processor does: #UD goes through the vector table at address 0 (SDM 3A 22.1.4): IP, CS and FLAGS
; are pushed, CS:IP is loaded, which is address 0xfe000. Instructions can't be fetched from where no RAM
; is: KVM gives up.

        bits    16
        org     0x7c00

        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7000
        mov     word [6 * 4], 0xe000
        mov     word [6 * 4 + 2], 0xf000
        ud2
