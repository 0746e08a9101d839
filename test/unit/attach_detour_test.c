/*
 * attach_detour_test.c
 *	  Detours of functions of the test program itself.
 *
 * The targets are written in assembly, so that each begins with exactly the
 * bytes that its test is about.
 */
#include "attach/tv_detour.h"
#include "attach/tv_relay.h"
#include "attach/tv_image.h"
#include "unit.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(cond) ok((cond), "%s", #cond)

/*
 * The targets have pages of their own: a page cannot be executed while it is
 * patched, so what patches it must be elsewhere.
 */
#define TARGETS ".pushsection .attach_targets,\"ax\",@progbits\n"
__asm__(TARGETS ".balign 4096\n.popsection\n");

/* Each defines t_name and t_name_end. */
#define TARGET(name, code) \
	extern int t_##name(int a, int b); \
	extern const char t_##name##_end[]; \
	__asm__(TARGETS ".p2align 4\n.globl t_" #name "\n" \
			".type t_" #name ", @function\n" \
			"t_" #name ":\n" code \
			".globl t_" #name "_end\nt_" #name "_end:\n" \
			".size t_" #name ", . - t_" #name "\n.popsection\n")

#define PROLOGUE "push %rbp\nmov %rsp, %rbp\npush %r12\npush %r13\n" \
	"lea (%rdi,%rsi), %eax\nmovslq %eax, %r12\nmovslq %eax, %r13\n"
#define EPILOGUE "pop %r13\npop %r12\npop %rbp\nret\n"

TARGET(plain, PROLOGUE EPILOGUE);
TARGET(far, PROLOGUE EPILOGUE);
TARGET(endbr, "endbr64\n" PROLOGUE EPILOGUE);
TARGET(replaced, "lea t_plain(%rip), %rcx\n" PROLOGUE EPILOGUE);
TARGET(riprel, "push %rbp\nmov t_plain(%rip), %rcx\npop %rbp\n"
	   "lea (%rdi,%rsi), %eax\nret\n");
TARGET(branch, "test %edi, %edi\nje 1f\nlea (%rdi,%rsi), %eax\n1:\nret\n"
	   ".rept 16\nnop\n.endr\n");
TARGET(call, "push %rbp\n.byte 0xe8\n.long t_plain - . - 4\npop %rbp\nret\n"
	   ".rept 16\nnop\n.endr\n");
TARGET(early_ret, "mov %edi, %eax\nret\n.rept 16\nnop\n.endr\n");
TARGET(tiny, "ret\n");
TARGET(loop, "push %rbp\nmov %rsp, %rbp\n1:\nadd $1, %edi\ncmp %esi, %edi\n"
	   "jl 1b\nmov %edi, %eax\npop %rbp\nret\n");
TARGET(cold, "push %rbp\nmov %rsp, %rbp\n.globl t_cold_back\nt_cold_back:\n"
	   "lea (%rdi,%rsi), %eax\nmovslq %eax, %rcx\npop %rbp\nret\n");
__asm__(TARGETS ".p2align 4\nt_cold_part:\n.byte 0xe9\n"
		".long t_cold_back - . - 4\n.popsection\n");
TARGET(taken, ".byte 0xe9\n.long t_plain - . - 4\n.rept 16\nnop\n.endr\n");
TARGET(garbage, "push %rbp\nmov %rsp, %rbp\nlea (%rdi,%rsi), %eax\npop %rbp\n"
	   "ret\n.byte 0x06, 0x06\n");
TARGET(uncalled, PROLOGUE EPILOGUE);
TARGET(lost, PROLOGUE EPILOGUE);
TARGET(swallower, "call t_lost\nret\n" ".rept 16\nnop\n.endr\n");
__asm__(TARGETS ".p2align 4\nt_caller:\ncall t_plain\ncall t_endbr\nret\n"
		".balign 4096\n.popsection\n");

#define SIZE(name) ((size_t) (t_##name##_end - (const char *) t_##name))

static TvBranches branches;		/* of the program, before any detour */
static int	(*original) (int a, int b);
static int	calls = 0;

static int
replacement(int a, int b)
{
	calls++;
	return original == NULL ? 1000 : original(a, b) + 1000;
}

/* The way the server's functions are called: nothing known of the target. */
static int
call(int (*function) (int a, int b), int a, int b)
{
	int			(*volatile unknown) (int a, int b) = function;

	return unknown(a, b);
}

static TvStatus
install(void *target, size_t size, TvDetourMode mode, bool far_jump,
		size_t min_callers, TvDetour *detour, TvError *err)
{
	TvDetourRequest request = {0};

	request.target = target;
	request.target_size = size;
	request.replacement = (void *) replacement;
	request.mode = mode;
	request.branches = &branches;
	request.min_callers = min_callers;
	request.far_jump = far_jump;
	return tv_detour_install(&request, detour, err);
}

/* The code must be neither writable nor left without execution. */
static void
check_is_code(const void *at)
{
	int			prot = 0;

	CHECK(tv_memory_protection(at, 1, &prot, NULL) == TV_OK);
	CHECK(prot == (PROT_READ | PROT_EXEC));
}

static void
test_detour(int (*target) (int a, int b), size_t size, bool far_jump,
			size_t min_callers)
{
	TvDetour	detour;
	TvError		err = {0};

	calls = 0;
	CHECK(call(target, 2, 3) == 5);
	if (install((void *) target, size, TV_DETOUR_CALLABLE, far_jump,
				min_callers, &detour, &err) != TV_OK)
	{
		ok(false, "a detour was refused: %s (%s)", err.message, err.detail);
		return;
	}
	*(void **) &original = detour.trampoline;
	CHECK(detour.far_jump == far_jump);
	CHECK(detour.patch_size >= (far_jump ? 14 : 5));
	CHECK(call(target, 2, 3) == 1005);
	CHECK(calls == 1);
	CHECK(call(original, 2, 3) == 5);
	CHECK(calls == 1);
	check_is_code((void *) target);
	check_is_code(detour.trampoline);

	/* A second one is refused, and the first still works. */
	CHECK(install((void *) target, size, TV_DETOUR_CALLABLE, far_jump, 0,
				  &detour, &err) == TV_ERR_INVALID_ARGUMENT);
	CHECK(strstr(err.message, "already") != NULL);
	CHECK(call(target, 4, 5) == 1009);
}

static void
test_replace(void)
{
	TvDetour	detour;
	TvError		err = {0};

	calls = 0;
	original = NULL;
	CHECK(install((void *) t_replaced, SIZE(replaced), TV_DETOUR_REPLACE, false,
				  0, &detour, &err) == TV_OK);
	CHECK(detour.trampoline == NULL);
	CHECK(call(t_replaced, 2, 3) == 1000);
	CHECK(calls == 1);
	check_is_code((void *) t_replaced);
}

/* The only call of a function was overwritten after the branches were found. */
static void
test_lost_call(void)
{
	TvDetour	detour;
	TvError		err = {0};

	CHECK(install((void *) t_swallower, SIZE(swallower), TV_DETOUR_REPLACE, false,
				  0, &detour, &err) == TV_OK);
	CHECK(install((void *) t_lost, SIZE(lost), TV_DETOUR_CALLABLE, false,
				  1, &detour, &err) == TV_ERR_VERSION);
	CHECK(strstr(err.message, "does not call the function") != NULL);
}

/* Refused, for the expected reason, with not a byte of the target changed. */
static void
test_refused(const char *name, void *target, size_t size, TvDetourMode mode,
			 size_t min_callers, const char *reason)
{
	unsigned char before[128];
	TvDetour	detour;
	TvError		err = {0};

	memcpy(before, target, size);
	ok(install(target, size, mode, false, min_callers, &detour,
			   &err) == TV_ERR_VERSION && strstr(err.message, reason) != NULL,
	   "%s is refused: %s", name, err.message);
	CHECK(detour.trampoline == NULL);
	CHECK(memcmp(before, target, size) == 0);
	CHECK(err.detail[0] != '\0' && err.hint[0] != '\0');
}

#define REFUSED(name, mode, reason) \
	test_refused(#name, (void *) t_##name, SIZE(name), mode, 0, reason)

static void
test_refusals(void)
{
	REFUSED(riprel, TV_DETOUR_CALLABLE, "depends on its position");
	REFUSED(branch, TV_DETOUR_CALLABLE, "depends on its position");
	REFUSED(call, TV_DETOUR_CALLABLE, "depends on its position");
	REFUSED(early_ret, TV_DETOUR_CALLABLE, "depends on its position");
	REFUSED(tiny, TV_DETOUR_REPLACE, "shorter than a jump");
	REFUSED(loop, TV_DETOUR_CALLABLE, "a branch leads to");
	REFUSED(cold, TV_DETOUR_CALLABLE, "other code jumps to");
	REFUSED(cold, TV_DETOUR_REPLACE, "other code jumps to");
	REFUSED(taken, TV_DETOUR_CALLABLE, "starts with a jump");
	REFUSED(taken, TV_DETOUR_REPLACE, "starts with a jump");
	REFUSED(garbage, TV_DETOUR_CALLABLE, "cannot be decoded");
	test_refused("uncalled", (void *) t_uncalled, SIZE(uncalled),
				 TV_DETOUR_CALLABLE, 1, "does not call the function");
}

static void
test_arguments(void)
{
	TvDetour	detour;
	TvDetourRequest request = {0};
	TvImage		image;
	TvError		err;
	size_t		size;

	CHECK(tv_detour_install(&request, &detour, &err) == TV_ERR_INVALID_ARGUMENT);
	CHECK(tv_image_main(&image, &err) == TV_OK);
	CHECK(image.ntext >= 1 && image.ndata >= 2);
	CHECK(tv_branches_find(image.text, image.ntext, &branches, &err) == TV_OK && branches.count > 0);
	CHECK(tv_image_function_size(&image, (void *) printf, &size,
								 &err) == TV_ERR_VERSION);
	CHECK(tv_image_function_size(&image, (const char *) t_plain + 1, &size,
								 &err) == TV_ERR_VERSION);
}

static int
sum(int a, int b)
{
	return a + b + 7000;
}

/* Relays share pages, of which there is one more when one is full. */
static void
test_relays(void)
{
	uintptr_t	mask = ~(uintptr_t) (tv_memory_page_size() - 1);
	uintptr_t	last = 0;
	int			pages = 0;
	bool		good = true;
	TvRelay		relay = {0};
	TvError		err;

	for (int i = 0; i < 200 && good; i++)
	{
		int			(*entry) (int a, int b);

		good = tv_relay_make((const unsigned char *) t_plain, 0, false, (const void *) sum, &relay, &err) == TV_OK &&
			relay.trampoline == NULL;
		*(const void **) &entry = relay.entry;
		good = good && call(entry, 1, i) == 7001 + i;
		pages += ((uintptr_t) relay.entry & mask) != last;
		last = (uintptr_t) relay.entry & mask;
	}
	check_is_code(relay.entry);
	ok(good && pages > 1 && pages < 10, "200 relays take %d pages", pages);
	CHECK(tv_relay_make((const unsigned char *) t_plain, 60, true, (const void *) sum, &relay, &err) ==
		  TV_ERR_INVALID_ARGUMENT);
}

/* As systemd's MemoryDenyWriteExecute does: nothing becomes executable. */
static bool
deny_mprotect_exec(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* In a process of its own, before any detour: refused, and nothing harmed. */
static void
test_kernel_refuses(void)
{
	TvDetour	detour;
	TvError		err = {0};
	int			status = -1;
	pid_t		child;

	fflush(NULL);
	child = fork();
	if (child == 0)
	{
		bool		good = deny_mprotect_exec() &&
			install((void *) t_plain, SIZE(plain), TV_DETOUR_CALLABLE, false,
					0, &detour, &err) == TV_ERR_IO &&
			strstr(err.message, "Operation not permitted") != NULL &&
			err.detail[0] != '\0' && strstr(err.hint, "execmod") != NULL &&
			call(t_plain, 2, 3) == 5;

		_exit(good ? 0 : 1);
	}
	CHECK(child > 0 && waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int
main(void)
{
	test_arguments();
	test_refusals();
	test_kernel_refuses();
	test_detour(t_plain, SIZE(plain), false, 1);
	test_detour(t_endbr, SIZE(endbr), false, 1);
	test_detour(t_far, SIZE(far), true, 0);
	test_replace();
	test_lost_call();
	test_relays();
	tv_branches_free(&branches);
	return unit_done();
}
