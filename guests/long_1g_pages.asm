; ---
; about = "1 GiB pages: the guest finds the PS bit in its PDPT and writes through a second view"
; needs = ["pages-1g"]
; [machine]
; mode = "long64"
; [machine.memory]
; size = "4M"
; [machine.paging]
; tables_at = 0x9000
; [[machine.paging.map]]
; virt = 0x0
; phys = 0x0
; size = "1G"
; page = "1G"
; access = "rwx"
; [[machine.paging.map]]
; virt = 0x8000000000            # 512 GiB: PML4 entry 1
; phys = 0x0
; size = "1G"
; page = "1G"
; access = "rw"
; [expect]
; exits = ["out 0x3f8/1 <- \"1 GiB pages\\n\"", "hlt"]
; output = "1 GiB pages\n"
; memory = { "0x3ffff8" = "44 44 44 44 44 44 44 44" }
; stop = "halted"
; exit_code = 10
; ---
;
; With the PS bit set in a PDPT entry the walk ends after two tables, and the low 30 bits of the
; address are the offset (SDM 3A 5.5.4; CPUID 80000001h EDX bit 26 says whether the CPU can). A
; page may be far larger than the RAM behind it: what is not RAM is MMIO as ever.

%include "include/image.inc"
%include "include/serial.inc"

PRESENT equ     1 << 0
LARGE   equ     1 << 7                  ; PS
TABLE   equ     0x000ffffffffff000      ; the physical address in an entry

        bits    64
        IMAGE_AT 0x100000

        mov     rbx, TABLE
        mov     rax, cr3
        and     rax, rbx
        mov     rax, [rax]              ; PML4 entry 0
        and     rax, rbx
        mov     rax, [rax]              ; PDPT entry 0
        and     eax, LARGE | PRESENT
        cmp     eax, LARGE | PRESENT
        jne     .other
        PRINT   "1 GiB pages", 10
        jmp     .write
.other: PRINT   "another page size", 10

.write: mov     rax, 0x80003ffff8       ; 512 GiB + 0x3ffff8
        mov     rdx, 0x4444444444444444
        mov     [rax], rdx
        hlt
