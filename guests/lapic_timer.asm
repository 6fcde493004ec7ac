; ---
; about = "a periodic LAPIC timer interrupts a running loop five times"
; [machine]
; mode = "long64"
; irqchip = "kernel"
; [machine.devices]
; debug_exit = 0xf4
; [expect]
; exits = ["out 0x3f8/1 <- \"5 ticks\\n\"", "out 0xf4/4 <- 10 00 00 00"]
; output = "5 ticks\n"
; memory = { "0x6000" = "05 00 00 00" }
; stop = { kind = "debug-exit", code = 0x10 }
; exit_code = 33
; ---
;
; The timer counts down from its initial value, interrupts at zero and, in periodic mode, starts
; again (SDM 3A 12.5.4). The program never halts: the interrupts come into the middle of a
; loop. LAPIC and timer live in the kernel, so that the host sees nothing of all this.

%include "include/idt64.inc"
%include "include/lapic.inc"
%include "include/serial.inc"
%include "include/debug_exit.inc"

TICKS   equ     0x6000
VECTOR_TIMER equ 0x20                   ; the first vector that is not reserved for exceptions

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64
        LAPIC_ENABLE
        LAPIC_WRITE LAPIC_TIMER_DIVIDE, DIVIDE_BY_1
        LAPIC_WRITE LAPIC_LVT_TIMER, TIMER_PERIODIC | VECTOR_TIMER
        LAPIC_WRITE LAPIC_TIMER_INITIAL, ONE_MILLISECOND
        sti
.wait:  pause
        cmp     dword [TICKS], 5
        jb      .wait
        cli
        PRINT   "5 ticks", 10
        DEBUG_EXIT PASSED

on_timer:
        push    rax
        cmp     dword [TICKS], 5
        je      .enough                 ; a sixth may have been on its way when the fifth stopped the timer
        inc     dword [TICKS]
        cmp     dword [TICKS], 5
        jb      .enough
        LAPIC_WRITE LAPIC_TIMER_INITIAL, 0
.enough:
        END_OF_INTERRUPT
        pop     rax
        iretq

on_spurious:                            ; no end-of-interrupt for this one (SDM 3A 12.9)
        iretq

        GDT64
        IDT64_BEGIN
        VECTOR  VECTOR_TIMER, on_timer
        VECTOR  VECTOR_SPURIOUS, on_spurious
        IDT64_END

        section .bss
        resb    512
stack_top:
