; ---
; about = "serial input by interrupt: every typed byte is echoed until a newline has come"
; stdin = "strata\n"
; [machine]
; mode = "long64"
; irqchip = "kernel"
; [machine.devices]
; debug_exit = 0xf4
; [expect]
; # Not exact: one or several bytes may come with an interrupt, and each wake-up costs a look at LSR.
; exits_contain = [
;   "out 0x3f8/1 <- \"Type a line.\\n\"",
;   "in 0x3f8/1 -> \"strata\\n\"",
;   "out 0x3f8/1 <- \"strata\\n\"",
;   "out 0xf4/4 <- 10 00 00 00",
; ]
; output = "Type a line.\nstrata\n"
; stop = { kind = "debug-exit", code = 0x10 }
; exit_code = 33
; ---
;
; The received-data interrupt of the 16550 on ISA line 4 wakes the program; it empties the receive
; FIFO and sleeps again.

%include "include/idt64.inc"
%include "include/pic.inc"
%include "include/lapic.inc"
%include "include/ioapic.inc"
%include "include/serial.inc"
%include "include/debug_exit.inc"

COM1_GSI equ    4
VECTOR_COM1 equ 0x20 + COM1_GSI

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64
        PIC_MASK
        LAPIC_ENABLE
        IOAPIC_ROUTE COM1_GSI, VECTOR_COM1

        PRINT   "Type a line.", 10
        mov     edx, COM1_MCR
        mov     al, MCR_OUT2            ; on a PC this output connects the chip's interrupt with the line
        out     dx, al
        mov     edx, COM1_IER
        mov     al, IER_RECEIVED
        out     dx, al

; Interrupts are on only while the CPU sleeps: whatever comes in after the look at the status ends
; the sleep.
.empty: mov     edx, COM1_LSR
        in      al, dx
        test    al, LSR_DATA_READY
        jz      .sleep
        mov     edx, COM1
        in      al, dx
        out     dx, al                  ; receive and transmit share the address
        cmp     al, 10
        jne     .empty
        DEBUG_EXIT PASSED
.sleep: sti
        hlt
        cli
        jmp     .empty

on_com1:
        push    rax
        END_OF_INTERRUPT
        pop     rax
        iretq

on_spurious:                            ; no end-of-interrupt for this one (SDM 3A 12.9)
        iretq

        GDT64
        IDT64_BEGIN
        VECTOR  VECTOR_COM1, on_com1
        VECTOR  VECTOR_SPURIOUS, on_spurious
        IDT64_END

        section .bss
        resb    512
stack_top:
