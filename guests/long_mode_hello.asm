; ---
; about = "long mode on 4 KiB pages: a greeting, RAM and MMIO seen through the page tables"
; [machine]
; mode = "long64"
; load_at = 0x4000
; entry = 0x0                    # an address as the guest sees it: physical 0x4000
; [machine.memory]
; size = "32K"
; [machine.paging]
; tables_at = 0x0                # PML4, PDPT, PD, PT at 0x0000, 0x1000, 0x2000, 0x3000
; [[machine.paging.map]]
; virt = 0x0
; phys = 0x4000
; size = 0x1000
; page = "4K"
; access = "rx"                  # the first page is read-only
; [[machine.paging.map]]
; virt = 0x1000
; phys = 0x5000
; size = 0x3000
; page = "4K"
; access = "rw"
; [[machine.paging.map]]
; virt = 0x4000
; phys = 0x8000                  # no RAM there: RAM ends at 0x7fff
; size = 0x1000
; page = "4K"
; access = "rw"
; [[machine.stub]]
; port = 0x1000
; len = 1
; answers = [0xee]
; print = true
; [expect]
; exits = [
;   "out 0x1000/1 <- \"Hello from Long Mode!\\n\"",
;   "in 0x1000/1 -> ee",
;   "mmio write 0x8000/1 <- 12",
;   "mmio write 0x8001/1 <- 34",
;   "mmio write 0x8002/1 <- 56",
;   "mmio write 0x8003/1 <- 78",
;   "hlt",
; ]
; output = "Hello from Long Mode!\n"
; stop = "halted"
; exit_code = 10
; [expect.memory]
; "0x5000" = "ee"
; "0x6000" = "aa bb cc dd"
; # The tables themselves, one entry each: accessed, user never, writable but for the first page, which alone executes
; # (bit 63 of the others is NX).
; "0x0" = "23 10 00 00 00 00 00 00"
; "0x1000" = "23 20 00 00 00 00 00 00"
; "0x2000" = "23 30 00 00 00 00 00 00"
; "0x3000" = "21 40 00 00 00 00 00 00 63 50 00 00 00 00 00 80 63 60 00 00 00 00 00 80 63 70 00 00 00 00 00 80 63 80 00 00 00 00 00 80"
; ---
;
; The long-mode guest of mini-kvm-rs, told anew. 32 KiB of RAM, half of it page tables:
;
;       physical                virtual
;       0x0000  PML4
;       0x1000  PDPT
;       0x2000  PD
;       0x3000  PT
;       0x4000  this image  <-  0x0000  read and execute
;       0x5000  RAM         <-  0x1000  read and write
;       0x6000  RAM         <-  0x2000
;       0x7000  RAM         <-  0x3000
;       0x8000  nothing     <-  0x4000  an access leaves the guest, by its physical address
;
; The tables lie where the GDT usually is: this guest gets none, and lives on the segments the host
; has put into the CPU's hidden registers.

        bits    64
        org     0

        mov     edx, 0x1000
        mov     esi, message
        mov     ecx, message_len
        cld
        rep     outsb

        mov     edi, 0x1000             ; virtual: the host finds the byte at physical 0x5000
        insb

        mov     byte [0x2000], 0xaa     ; virtual: physical 0x6000
        mov     byte [0x2001], 0xbb
        mov     byte [0x2002], 0xcc
        mov     byte [0x2003], 0xdd

        mov     byte [0x4000], 0x12     ; virtual: physical 0x8000, where no RAM is
        mov     byte [0x4001], 0x34
        mov     byte [0x4002], 0x56
        mov     byte [0x4003], 0x78
        hlt

message: db     "Hello from Long Mode!", 10
message_len equ $ - message
