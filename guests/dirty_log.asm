; ---
; about = "the dirty log names exactly the pages the guest wrote, by store or by port input"
; [machine]
; mode = "real16"
; load_at = 0x1000
; [machine.memory]
; dirty_log = true
; size = "64K"
; [[machine.stub]]
; port = 0x1000
; len = 1
; answers = [0x77]
; [expect]
; exits = ["in 0x1000/1 -> 77", "hlt"]
; output = ""
; memory = { "0x1fff" = "66", "0x3000" = "11", "0x5fff" = "22 22", "0x8fff" = "33", "0xa800" = "77" }
; dirty = ["0x1000", "0x3000", "0x5000", "0x6000", "0x8000", "0xa000"]
; stop = "halted"
; exit_code = 10
; ---
;
; KVM_MEM_LOG_DIRTY_PAGES: the kernel keeps one bit a page and sets it when the guest writes. Page
; 0xc000, which the guest only reads, stays clean.
;
; That is so because nobody has ever written it. A page that the host has filled may be called dirty
; from the guest's first access on, even a read: hosts with VMX or SVM then map it writable at once.
; The page of this image is such a one, so the guest writes to it as well, and all hosts agree.

        bits    16
        org     0x1000

        mov     byte [0x1fff], 0x66     ; our own page: see kvm_ioctls_example
        mov     byte [0x3000], 0x11     ; the first byte of a page
        mov     word [0x5fff], 0x2222   ; one store, two pages
        mov     byte [0x8fff], 0x33     ; the last byte of a page
        mov     al, [0xc000]            ; a read
        mov     di, 0xa800              ; KVM writes the answer to a string input, for the guest
        mov     dx, 0x1000
        cld
        insb
        hlt
