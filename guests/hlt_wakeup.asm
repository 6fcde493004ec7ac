; ---
; about = "hlt sleeps in the kernel until an interrupt comes; three one-shot timers wake it three times"
; [machine]
; mode = "long64"
; irqchip = "kernel"
; [machine.devices]
; debug_exit = 0xf4
; [expect]
; exits = ["out 0x3f8/1 <- \"awake\\nawake\\nawake\\n\"", "out 0xf4/4 <- 10 00 00 00"]
; output = "awake\nawake\nawake\n"
; memory = { "0x6000" = "03 00 00 00" }
; stop = { kind = "debug-exit", code = 0x10 }
; exit_code = 33
; ---
;
; Without an interrupt controller in the kernel a hlt is an exit, and the end. With one, KVM puts
; the vCPU's thread to sleep and wakes it for the next interrupt; the host process sees no exit at
; all.
;
; `sti` lets interrupts through only after the instruction that follows it. So none can slip in
; between the two, be handled too early, and leave the hlt waiting for an interrupt that has been.

%include "include/idt64.inc"
%include "include/lapic.inc"
%include "include/serial.inc"
%include "include/debug_exit.inc"

WAKE_UPS equ    0x6000
VECTOR_TIMER equ 0x20

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64
        LAPIC_ENABLE
        LAPIC_WRITE LAPIC_TIMER_DIVIDE, DIVIDE_BY_1
        LAPIC_WRITE LAPIC_LVT_TIMER, TIMER_ONE_SHOT | VECTOR_TIMER

        xor     ebx, ebx
.round: LAPIC_WRITE LAPIC_TIMER_INITIAL, ONE_MILLISECOND
        sti
        hlt
        cli
        inc     ebx
        cmp     [WAKE_UPS], ebx         ; each hlt ends by exactly one interrupt
        jne     .wrong
        PRINT   "awake", 10
        cmp     ebx, 3
        jb      .round
        DEBUG_EXIT PASSED
.wrong: PRINT   "hlt ended without its interrupt", 10
        DEBUG_EXIT FAILED

on_timer:
        push    rax
        inc     dword [WAKE_UPS]
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
