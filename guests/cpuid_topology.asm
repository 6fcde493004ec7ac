; ---
; about = "two vCPUs: each finds its own APIC id in CPUID, and that there are two of them in one package"
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
; stop = { kind = "debug-exit", code = 0x10 }
; exit_code = 33
; [expect.memory]
; # initial APIC id, x2APIC id, processors in the package, bits of an APIC id that number them
; "0x6010" = "00 00 00 00 00 00 00 00 02 00 00 00 01 00 00 00"
; "0x6020" = "01 00 00 00 01 00 00 00 02 00 00 00 01 00 00 00"
; # the same of the core, whose only thread it is: no bit is needed
; "0x6030" = "01 00 00 00 00 00 00 00"
; "0x6038" = "01 00 00 00 00 00 00 00"
; # HTT, hypervisor
; "0x6040" = "01 01"
; ---
;
; CPUID answers each processor with the machine's numbers and its own (SDM 2A, "CPUID", leaves 01H
; and 0BH; the way through them is in SDM 3A 10.9). What KVM is given for one vCPU must not reach another.

CPUS    equ     2

PACKAGE equ     0x6010                  ; 16 bytes a CPU
THREAD  equ     0x6030                  ; 8 bytes a CPU
FLAGS   equ     0x6040                  ; 1 byte a CPU

%macro ON_EACH_CPU 0
        mov     eax, 1
        cpuid
        mov     r8d, ebx
        shr     r8d, 24                 ; EBX[31:24]: the initial APIC id
        shr     edx, 28                 ; EDX bit 28: HTT
        shr     ecx, 31                 ; ECX bit 31: a hypervisor
        and     edx, ecx
        mov     [r8 + FLAGS], dl
        and     byte [r8 + FLAGS], 1
        mov     eax, 0xb
        xor     ecx, ecx                ; subleaf 0: the threads of a core
        cpuid
        mov     [r8 * 8 + THREAD], ebx
        mov     [r8 * 8 + THREAD + 4], eax
        mov     r9d, r8d
        shl     r9d, 4
        mov     eax, 0xb
        mov     ecx, 1                  ; subleaf 1: the cores of the package
        cpuid
        mov     [r9 + PACKAGE], r8d
        mov     [r9 + PACKAGE + 4], edx
        mov     [r9 + PACKAGE + 8], ebx
        mov     [r9 + PACKAGE + 12], eax
%endmacro

%include "include/smp_guest.inc"
