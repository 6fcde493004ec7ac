; ---
; about = "waits for a disk to be ready that is not there"
; [machine]
; mode = "long64"
; [machine.budget]
; exits = 1000
; [expect]
; exits = ["1000 * in 0x1f7/1 -> ff"]
; output = ""
; stop = { kind = "budget", budget = "exits" }
; exit_code = 18
; explain = [
;   "polls port 0x1f7 at 0x100005, where no device is",
; ]
; ---
;
; The mistake: a loop without an end, and without a look at whether there is a disk at all.
;
; What happens: a read of a port that no device has gives all ones, as on a PC, where nobody pulls the
; bus down. Bit 7 of this status register is BSY (ATA-6 7.15), so the disk seems busy forever.

        bits    64
        org     0x100000

STATUS  equ     0x1f7                   ; of the first IDE channel
BUSY    equ     1 << 7

        mov     edx, STATUS
.wait:  in      al, dx
        test    al, BUSY
        jnz     .wait
        hlt
