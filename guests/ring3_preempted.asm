; ---
; about = "a LAPIC timer interrupts a loop in ring 3 three times; each time the program goes on where it was"
; [machine]
; mode = "long64"
; irqchip = "kernel"
; [machine.memory]
; size = "4M"
; [machine.paging]
; tables_at = 0x9000
; [[machine.paging.map]]
; virt = 0x0
; phys = 0x0
; size = "2M"
; page = "2M"
; access = "rwx"
; [[machine.paging.map]]
; virt = 0x400000
; phys = 0x101000                # the image's second page
; size = "4K"
; page = "4K"
; access = "rxu"
; [[machine.paging.map]]
; virt = 0x401000
; phys = 0x200000
; size = "4K"
; page = "4K"
; access = "rwu"
; [[machine.paging.map]]
; virt = 0xfee00000              # the local APIC, for ring 0
; phys = 0xfee00000
; size = "4K"
; page = "4K"
; access = "rw"
; [machine.devices]
; debug_exit = 0xf4
; [expect]
; exits = [
;   "out 0x3f8/1 <- \"tick\\ntick\\ntick\\n\"",
;   "out 0x3f8/1 <- \"done\\n\"",
;   "out 0xf4/4 <- 10 00 00 00",
; ]
; output = "tick\ntick\ntick\ndone\n"
; stop = { kind = "debug-exit", code = 0x10 }
; exit_code = 33
; ---
;
; How an operating system keeps the CPU: whatever a program does, the timer's interrupt leads to
; ring 0. The program here is an endless loop but for a number in its memory, which the handler
; counts up. When it has reached three the program tries a `hlt`, which ring 3 must not: #GP.

%include "include/idt64.inc"
%include "include/ring3.inc"
%include "include/lapic.inc"
%include "include/serial.inc"
%include "include/debug_exit.inc"

VECTOR_TIMER equ 0x20
USER_PAGE equ   0x400000                ; this image's second page, as ring 3 sees it
TICKS   equ     0x401000
USER_STACK equ  0x402000

        bits    64
        IMAGE_AT 0x100000

        mov     esp, kernel_stack
        LOAD_GDT64
        LOAD_IDT64
        LOAD_TSS
        LAPIC_ENABLE
        LAPIC_WRITE LAPIC_TIMER_DIVIDE, DIVIDE_BY_1
        LAPIC_WRITE LAPIC_LVT_TIMER, TIMER_ONE_SHOT | VECTOR_TIMER
        LAPIC_WRITE LAPIC_TIMER_INITIAL, ONE_MILLISECOND
        ENTER_RING3 USER_PAGE, USER_STACK       ; interrupts are on from here

; The program uses rax only.
on_timer:
        push    rax
        test    byte [rsp + 16], 3      ; the saved CS: did the interrupt come from ring 3?
        jz      .wrong
        PRINT   "tick", 10
        inc     dword [TICKS]
        cmp     dword [TICKS], 3
        je      .last
        LAPIC_WRITE LAPIC_TIMER_INITIAL, ONE_MILLISECOND
.last:  END_OF_INTERRUPT
        pop     rax
        iretq
.wrong: PRINT   "interrupt, but not from ring 3", 10
        DEBUG_EXIT FAILED

on_general_protection:
        cmp     dword [TICKS], 3
        jne     .early
        PRINT   "done", 10
        DEBUG_EXIT PASSED
.early: PRINT   "#GP before the third tick", 10
        DEBUG_EXIT FAILED

on_spurious:                            ; no end-of-interrupt for this one (SDM 3A 12.9)
        iretq

        GDT64_WITH_RING3
        IDT64_BEGIN
        VECTOR  VECTOR_GP, on_general_protection
        VECTOR  VECTOR_TIMER, on_timer
        VECTOR  VECTOR_SPURIOUS, on_spurious
        IDT64_END

; ---- ring 3 ----
        align   4096
%if $ - $$ != 0x1000
%error "the user page is not the image's second: see the header"
%endif
.wait:  pause
        mov     eax, [TICKS]
        cmp     eax, 3
        jb      .wait
        hlt
        jmp     $

        section .bss
        resb    512
kernel_stack:
