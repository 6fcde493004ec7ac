; ---
; about = "eight vCPUs: seven start at once and add their numbers to one sum, none gets lost"
; [machine]
; mode = "long64"
; load_at = 0x10000
; cpus = 8
; irqchip = "kernel"
; [machine.devices]
; debug_exit = 0xf4
; [expect]
; exits = ["out 0x3f8/1 <- \"sum 0x24\\n\"", "out 0xf4/4 <- 10 00 00 00"]
; output = "sum 0x24\n"
; memory = { "0x6000" = "24 00 00 00 07 00 00 00" }
; stop = { kind = "debug-exit", code = 0x10 }
; exit_code = 33
; ---
;
; 1 + 2 + ... + 8 = 36 = 0x24. Seven CPUs add to one place in memory at the same time: without
; `lock` one sum could overwrite another. See include/smp_guest.inc for the program.

CPUS    equ     8
%include "include/smp_guest.inc"
