; ---
; about = "two vCPUs: the second is started by INIT and SIPI, climbs to long mode and adds its number"
; [machine]
; mode = "long64"
; load_at = 0x10000
; cpus = 2
; irqchip = "kernel"
; [machine.devices]
; debug_exit = 0xf4
; [expect]
; exits = ["out 0x3f8/1 <- \"sum 0x03\\n\"", "out 0xf4/4 <- 10 00 00 00"]
; output = "sum 0x03\n"
; memory = { "0x6000" = "03 00 00 00 01 00 00 00" }
; stop = { kind = "debug-exit", code = 0x10 }
; exit_code = 33
; ---
;
; The least machine with more than one CPU. See include/smp_guest.inc for the program.

CPUS    equ     2
%include "include/smp_guest.inc"
