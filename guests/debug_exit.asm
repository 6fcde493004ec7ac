; ---
; about = "a write of 3 to the debug-exit port ends the run with exit status 7, as QEMU's isa-debug-exit does"
; [machine]
; mode = "long64"
; [machine.devices]
; debug_exit = 0xf4
; [expect]
; exits = ["out 0xf4/4 <- 03 00 00 00"]
; output = ""
; stop = { kind = "debug-exit", code = 3 }
; exit_code = 7
; ---
;
; The convention by which test runners of many small kernels learn how a test went: a process that
; ran a guest which wrote v ends with (v << 1) | 1. An odd status can't be mistaken for one of the
; VMM's own.

%include "include/debug_exit.inc"

        bits    64
        org     0x100000

        DEBUG_EXIT 3
