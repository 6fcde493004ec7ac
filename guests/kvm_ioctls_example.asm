; ---
; about = "kvm-ioctls' example: port out and in, MMIO write and read, hlt, and two dirty pages"
; [machine]
; mode = "real16"
; load_at = 0x1000
; [machine.registers]
; rax = 2
; rbx = 3
; [machine.memory]
; dirty_log = true
; [[machine.memory.piece]]
; at = 0x1000
; size = 0x4000
; [machine.devices]
; serial = "none"                # the port is answered by the stub below, so that the answer is known
; [[machine.stub]]
; port = 0x3f8
; len = 1
; answers = [0x41]
; print = true
; [[machine.stub]]
; mmio = 0x8000
; len = 1
; answers = [0x5a]
; [expect]
; exits = [
;   "out 0x3f8/1 <- 35",
;   "in 0x3f8/1 -> 41",
;   "mmio write 0x8000/1 <- 00",
;   "mmio read 0x8000/1 -> 5a",
;   "hlt",
; ]
; output = "5"
; memory = { "0x1100" = "41", "0x3000" = "41" }
; dirty = ["0x1000", "0x3000"]
; registers = { rax = 0x41, rbx = 3, rdx = 0x35a }
; stop = "halted"
; exit_code = 10
; ---
;
; The smallest program that makes each of KVM's four common exits once. The idea is that of the
; example in the documentation of the kvm-ioctls crate. The memory slot is 0x1000..0x4fff, so
; physical 0x8000 belongs to nobody: an access there leaves the guest as an MMIO exit.
;
; Two stores to RAM are added. With KVM_MEM_LOG_DIRTY_PAGES on the slot the kernel reports the pages
; the guest has written, 0x1000 and 0x3000, and no other one. The first is the page with the code, on
; purpose: it has been written by the host, which loaded the image. Hosts with VMX or SVM map such a
; page writable as soon as the guest fetches from it, and call it dirty from then on; others don't.
; Since the guest writes there too, all agree.

        bits    16
        org     0x1000

        mov     dx, 0x3f8
        add     al, bl                  ; 2 + 3, from the registers the host has set ...
        add     al, '0'                 ; ... as a digit
        out     dx, al                  ; exit 1: out, '5'
        in      al, dx                  ; exit 2: in, answered 0x41 by the host
        mov     [0x1100], al            ; no exit: this is RAM, and now it is dirty
        mov     [0x3000], al            ; so is this
        mov     byte [0x8000], 0        ; exit 3: MMIO write
        mov     dl, [0x8000]            ; exit 4: MMIO read, answered 0x5a; dx = 0x35a
        hlt                             ; exit 5
