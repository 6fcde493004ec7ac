; ---
; about = "32-bit paging set up by the guest: a 4 MiB and a 4 KiB page, two views of one page, a #PF with CR2"
; needs = ["paging32"]
; [machine]
; mode = "protected32"
; [machine.memory]
; size = "4M"
; [expect]
; exits = [
;   "out 0x3f8/1 <- \"Paging is on\\n\"",
;   "out 0x3f8/1 <- \"Written at 0xc0000010\\n\"",
;   "out 0x3f8/1 <- \"#PF error 0x0002 at 0xc0001000\\n\"",
;   "hlt",
; ]
; output = "Paging is on\nWritten at 0xc0000010\n#PF error 0x0002 at 0xc0001000\n"
; memory = { "0x300010" = "ef be ad de" }
; stop = "halted"
; exit_code = 10
; ---
;
; The two-level tables of the 386 (SDM 3A 5.3), entries of 32 bits:
;
;       page directory [0]    -> a 4 MiB page at physical 0 (needs CR4.PSE): this code stays there
;       page directory [768]  -> page table [0] -> the 4 KiB page at physical 0x300000, seen at 0xc0000000
;
; Everything else is not present.

%include "include/idt32.inc"
%include "include/serial.inc"

PRESENT equ     1 << 0
WRITABLE equ    1 << 1
LARGE   equ     1 << 7                  ; in a page directory entry: a 4 MiB page
CR4_PSE equ     1 << 4
CR0_PG  equ     1 << 31

DIRECTORY equ   0x200000
TABLE   equ     0x201000
PAGE    equ     0x300000
VIEW    equ     0xc0000000

        bits    32
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT32
        LOAD_IDT32

        mov     edi, DIRECTORY          ; both tables, empty: 2 * 1024 entries
        mov     ecx, 2048
        xor     eax, eax
        cld
        rep     stosd
        mov     dword [DIRECTORY], 0 | LARGE | WRITABLE | PRESENT
        mov     dword [DIRECTORY + 4 * (VIEW >> 22)], TABLE | WRITABLE | PRESENT
        mov     dword [TABLE], PAGE | WRITABLE | PRESENT

        mov     eax, cr4
        or      eax, CR4_PSE
        mov     cr4, eax
        mov     eax, DIRECTORY
        mov     cr3, eax
        mov     eax, cr0
        or      eax, CR0_PG
        mov     cr0, eax
        PRINT   "Paging is on", 10

        mov     dword [VIEW + 0x10], 0xdeadbeef
        cmp     dword [PAGE + 0x10], 0xdeadbeef ; the same bytes, by their physical address
        jne     .different
        PRINT   "Written at 0xc0000010", 10
.different:
        mov     dword [VIEW + 0x1000], 1        ; the next page is not there
        PRINT   "No fault", 10
        hlt

on_page_fault:
        PRINT   "#PF error 0x"
        pop     eax                     ; 2: a write, to a page that is not present
        PRINT_HEX 4
        PRINT   " at 0x"
        mov     eax, cr2
        PRINT_HEX 8
        PRINT   10
        hlt

        USES_PRINT_HEX

        GDT32
        IDT32_BEGIN
        VECTOR  VECTOR_PF, on_page_fault
        IDT32_END

        section .bss
        resb    512
stack_top:
