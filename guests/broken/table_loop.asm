; ---
; about = "a jump to an address whose PML4 entry leads back to the PML4"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#PF executing at 0x8080000000: the PDPTE at 0x9010 is not present (P=0)",
; ]
; ---
;
; The mistake: an entry of the PML4 points to the PML4 itself. In the last slot that is a known trick,
; by which a kernel sees its own tables; here it is in slot 1, where the program is to be.
;
; What the processor does: an entry doesn't say of which level the table is that it points to. The
; PML4 is read again as a PDPT (SDM 3A 5.5.4), and there is nothing in its slot 2: #PF. Walking tables
; that loop ends all the same, since each level is walked once. There is no IDT.

%include "include/image.inc"

PML4    equ     0x9000                  ; of the tables at entry
PRESENT_WRITABLE equ 3

        bits    64
        IMAGE_AT 0x100000

        mov     qword [PML4 + 1 * 8], PML4 | PRESENT_WRITABLE
        mov     rax, 1 << 39 | 2 << 30  ; PML4 entry 1, PDPT entry 2
        jmp     rax
