; ---
; about = "KVM_IRQ_LINE: a device pulses line 5, the IOAPIC sends vector 0x25, a handler counts"
; [machine]
; mode = "long64"
; irqchip = "kernel"
; [machine.devices]
; debug_exit = 0xf4
; [[machine.stub]]
; port = 0x1000
; len = 1
; irq = 5
; irq_by = "line"
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
; The plain way to raise an interrupt from user space: two ioctls on the VM, level 1 and level 0.
; They have taken effect when they return, so that the interrupt is pending before the vCPU runs on.

%include "include/irq_guest.inc"
