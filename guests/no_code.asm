; ---
; about = "a jump to where no memory is: KVM can fetch no instruction there and reports an internal error"
; [machine]
; mode = "long64"
; [expect]
; exits = ["internal error 1"]
; output = ""
; stop = "internal-error"
; exit_code = 22
; explain = ["there is no RAM at 0xd0000000"]
; ---
;
; Data can be read from a device, instructions can't: KVM_EXIT_MMIO has no way to fetch code. KVM
; gives up with KVM_EXIT_INTERNAL_ERROR, suberror 1 (emulation). A wild jump of a kernel under test
; often ends like this.

        bits    64
        org     0x100000

        mov     eax, 0xd0000000         ; mapped, but neither RAM nor a device
        jmp     rax
