; ---
; about = "2 MiB pages: the guest finds the PS bit in its tables and writes through two more views"
; [machine]
; mode = "long64"
; [machine.memory]
; size = "8M"
; [machine.paging]
; tables_at = 0x9000
; [[machine.paging.map]]
; virt = 0x0
; phys = 0x0
; size = "2M"
; page = "2M"
; access = "rwx"
; [[machine.paging.map]]
; virt = 0x40000000              # 1 GiB: another page directory
; phys = 0x200000
; size = "4M"                    # two pages in a row
; page = "2M"
; access = "rw"
; [[machine.paging.map]]
; virt = 0xffff800000000000      # the first address of the upper half: another PML4 entry
; phys = 0x600000
; size = "2M"
; page = "2M"
; access = "rw"
; [expect]
; exits = ["out 0x3f8/1 <- \"2 MiB pages\\n\"", "hlt"]
; output = "2 MiB pages\n"
; memory = { "0x3ffffc" = "11 11 11 11 22 22 22 22", "0x7ffff8" = "33 33 33 33 33 33 33 33" }
; stop = "halted"
; exit_code = 10
; ---
;
; With the PS bit set in a page directory entry the walk ends one level early, and the low 21 bits
; of the address are the offset (SDM 3A 5.5.4). The table walk below uses physical addresses as
; virtual ones, which works here because the tables lie in the identity-mapped first 2 MiB.

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
        test    al, LARGE               ; set: this would be a 1 GiB page
        jnz     .other
        and     rax, rbx
        mov     rax, [rax]              ; PD entry 0
        and     eax, LARGE | PRESENT
        cmp     eax, LARGE | PRESENT
        jne     .other
        PRINT   "2 MiB pages", 10
        jmp     .write
.other: PRINT   "another page size", 10

.write: mov     eax, 0x401ffffc
        mov     rdx, 0x2222222211111111
        mov     [rax], rdx              ; one store, across the border of two 2 MiB pages

        mov     rax, 0xffff8000001ffff8
        mov     rdx, 0x3333333333333333
        mov     [rax], rdx
        hlt
