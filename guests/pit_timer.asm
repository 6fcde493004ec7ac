; ---
; about = "the PIT interrupts three times through the 8259"
; [machine]
; mode = "long64"
; irqchip = "kernel"
; pit = true
; [machine.devices]
; debug_exit = 0xf4
; [expect]
; exits = ["out 0x3f8/1 <- \"3 ticks\\n\"", "out 0xf4/4 <- 10 00 00 00"]
; output = "3 ticks\n"
; memory = { "0x6000" = "03 00 00 00" }
; stop = { kind = "debug-exit", code = 0x10 }
; exit_code = 33
; ---
;
; The way of the first PC: channel 0 of the 8254 timer drives line 0 of the 8259, which interrupts
; the CPU. All of it is in the kernel (KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2): none of these ports
; reaches the host. The local APIC is left as it is after reset, when it passes the 8259's signal
; through.

%include "include/idt64.inc"
%include "include/pic.inc"
%include "include/serial.inc"
%include "include/debug_exit.inc"

TICKS   equ     0x6000
VECTOR_PIC equ  0x20                    ; line 0
PIT_CHANNEL_0 equ 0x40
PIT_COMMAND equ 0x43
RATE_GENERATOR equ 0x34                 ; channel 0, low byte then high byte, mode 2, binary
DIVISOR equ     1193182 / 500           ; of the PIT's 1.193182 MHz: 500 interrupts a second

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64
        PIC_INIT VECTOR_PIC, ~(1 << 0) & 0xff
        mov     al, RATE_GENERATOR
        out     PIT_COMMAND, al
        mov     al, DIVISOR & 0xff
        out     PIT_CHANNEL_0, al
        mov     al, DIVISOR >> 8
        out     PIT_CHANNEL_0, al
.wait:  sti
        hlt
        cli
        cmp     dword [TICKS], 3
        jb      .wait
        PRINT   "3 ticks", 10
        DEBUG_EXIT PASSED

on_timer:
        push    rax
        cmp     dword [TICKS], 3
        je      .enough                 ; a slow host may be ticks behind, and delivers several in a row
        inc     dword [TICKS]
.enough:
        PIC_END_OF_INTERRUPT
        pop     rax
        iretq

        GDT64
        IDT64_BEGIN
        VECTOR  VECTOR_PIC, on_timer
        IDT64_END

        section .bss
        resb    512
stack_top:
