; ---
; about = "irqfd: the same as irq_line, but the device only writes to an eventfd"
; [machine]
; mode = "long64"
; irqchip = "kernel"
; [machine.devices]
; debug_exit = 0xf4
; [[machine.stub]]
; port = 0x1000
; len = 1
; irq = 5
; irq_by = "irqfd"
; [expect]
; exits = [
;   "out 0x1000/1 <- 01",
;   "out 0x3f8/1 <- \"interrupt\\n\"",
;   "out 0x1000/1 <- 02",
;   "out 0x3f8/1 <- \"interrupt\\n\"",
;   "out 0x1000/1 <- 03",
;   "out 0x3f8/1 <- \"interrupt\\n\"",
;   "out 0xf4/4 <- 10 00 00 00",
; ]
; output = "interrupt\ninterrupt\ninterrupt\n"
; memory = { "0x6000" = "03 00 00 00" }
; stop = { kind = "debug-exit", code = 0x10 }
; exit_code = 33
; ---
;
; The way for devices that are busy elsewhere: an eventfd is tied to the line once (KVM_IRQFD), and
; a write to it is a pulse. Any thread or process can do that without the VM's file descriptor. The
; kernel may deliver it a little later, when the vCPU runs already: the program sleeps until it has
; come.

%include "include/irq_guest.inc"
