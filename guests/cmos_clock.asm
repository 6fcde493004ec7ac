; ---
; about = "the CMOS clock: valid battery, 24-hour BCD, no update in progress, and a date that can be one"
; [machine]
; mode = "long64"
; [expect]
; # The time of day is the host's.
; exits_contain = [
;   "out 0x70/1 <- 0d",
;   "in 0x71/1 -> 80",
;   "out 0x70/1 <- 0b",
;   "in 0x71/1 -> 02",
;   "out 0x70/1 <- 0a",
;   "in 0x71/1 -> 26",
;   "out 0x70/1 <- 08",
;   "hlt",
; ]
; output = "The clock is good\n"
; stop = "halted"
; exit_code = 10
; ---
;
; An index to port 0x70, the register's content from port 0x71 (MC146818 data sheet). Linux reads it
; while it boots; where it is missing, a stock kernel waits for it in tens of thousands of reads.

%include "include/image.inc"
%include "include/serial.inc"

MONTH   equ     0x08
STATUS_A equ    0x0a                    ; bit 7: an update is in progress, the time may be torn
STATUS_B equ    0x0b                    ; bit 1: 24 hours; bit 2: binary instead of BCD
STATUS_D equ    0x0d                    ; bit 7: battery good, contents valid

%macro  CMOS_READ 1                     ; register -> al
        mov     al, %1
        out     0x70, al
        in      al, 0x71
%endmacro

        bits    64
        IMAGE_AT 0x100000

        CMOS_READ STATUS_D
        cmp     al, 1 << 7
        jne     .bad
        CMOS_READ STATUS_B
        cmp     al, 1 << 1
        jne     .bad
.wait:  CMOS_READ STATUS_A
        test    al, 1 << 7
        jnz     .wait
        CMOS_READ MONTH
        dec     al                      ; 0x01 to 0x09, 0x10, 0x11, 0x12
        cmp     al, 0x12
        jae     .bad
        PRINT   "The clock is good", 10
        hlt
.bad:   PRINT   "The clock is bad", 10
        hlt
