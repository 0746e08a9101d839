/*
 * attach_redirect_test.c
 *	  Direct calls redirected in one function, and references to data counted.
 */
#include "attach/tv_redirect.h"
#include "unit.h"

#include <string.h>
#include <sys/mman.h>

#define CHECK(cond) ok((cond), "%s", #cond)

/* In pages of their own: see attach_detour_test.c. */
#define TARGETS ".pushsection .attach_targets,\"ax\",@progbits\n"

#define TARGET(name, code) \
	extern int t_##name(int a); \
	extern const char t_##name##_end[]; \
	__asm__(TARGETS ".p2align 4\n.globl t_" #name "\n" \
			".type t_" #name ", @function\n" \
			"t_" #name ":\n" code \
			".globl t_" #name "_end\nt_" #name "_end:\n.popsection\n")

__asm__(TARGETS ".balign 4096\n.popsection\n");
TARGET(callee, "lea 1(%rdi), %eax\nret\n");

/* A call and a tail jump, with 32-bit displacements as in separate objects. */
TARGET(caller, "push %rbp\n.byte 0xe8\n.long t_callee - . - 4\n"
	   "mov %eax, %edi\npop %rbp\n.byte 0xe9\n.long t_callee - . - 4\n");
TARGET(other_caller, "push %rbp\n.byte 0xe8\n.long t_callee - . - 4\n"
	   "pop %rbp\nret\n");
TARGET(garbage, ".byte 0xe8\n.long t_callee - . - 4\n.byte 0x06\n");
TARGET(near_callee, "lea 2(%rdi), %eax\nret\n");
TARGET(short_jump, ".byte 0xeb\n.byte t_near_callee - . - 1\n");
TARGET(reader, "lea t_area+16(%rip), %rax\nmov t_area(%rip), %eax\n"
	   "mov t_area+32(%rip), %eax\nlea t_callee(%rip), %rcx\nret\n");
__asm__(TARGETS ".balign 4096\n.popsection\n"
		".pushsection .bss\n.globl t_area\n.p2align 4\nt_area:\n"
		".zero 64\n.popsection\n");

extern const unsigned char t_area[];

#define RANGE(name) \
	{(const unsigned char *) t_##name, \
	 (size_t) (t_##name##_end - (const char *) t_##name)}

static int
replacement(int a)
{
	return t_callee(a) + 100;
}

static int
call(int (*function) (int a), int a)
{
	int			(*volatile unknown) (int a) = function;

	return unknown(a);
}

static void
test_redirect(void)
{
	TvMemoryRange caller = RANGE(caller);
	TvMemoryRange callee = RANGE(callee);
	int			prot = 0;
	size_t		sites;
	TvError		err;

	CHECK(call(t_caller, 1) == 3);
	CHECK(tv_redirect_calls(&caller, (void *) t_callee, (void *) replacement,
							&sites, &err) == TV_OK);
	CHECK(sites == 2);
	CHECK(call(t_caller, 1) == 203);
	/* The callee itself, and other calls of it, are as before. */
	CHECK(call(t_callee, 1) == 2);
	CHECK(call(t_other_caller, 1) == 2);
	CHECK(tv_memory_protection(caller.start, caller.size, &prot, &err) == TV_OK);
	CHECK(prot == (PROT_READ | PROT_EXEC));

	/* No calls left, none at all, and no function: nothing to do. */
	CHECK(tv_redirect_calls(&caller, (void *) t_callee, (void *) replacement,
							&sites, &err) == TV_OK && sites == 0);
	CHECK(tv_redirect_calls(&callee, (void *) t_caller, (void *) replacement,
							&sites, &err) == TV_OK && sites == 0);
	callee.size = 0;
	CHECK(tv_redirect_calls(&callee, (void *) t_caller, (void *) replacement,
							&sites, &err) == TV_OK && sites == 0);
}

static void
test_refusals(void)
{
	TvMemoryRange garbage = RANGE(garbage);
	TvMemoryRange short_jump = RANGE(short_jump);
	unsigned char before[8];
	size_t		sites;
	TvError		err;

	memcpy(before, garbage.start, garbage.size);
	CHECK(tv_redirect_calls(&garbage, (void *) t_callee, (void *) replacement,
							&sites, &err) == TV_ERR_VERSION);
	CHECK(strstr(err.message, "cannot be decoded") != NULL);
	CHECK(memcmp(before, garbage.start, garbage.size) == 0);
	CHECK(tv_redirect_calls(&short_jump, (void *) t_near_callee,
							(void *) replacement, &sites,
							&err) == TV_ERR_VERSION);
	CHECK(strstr(err.message, "cannot be redirected") != NULL);
	CHECK(call(t_short_jump, 1) == 3);
}

static void
test_references(void)
{
	TvMemoryRange reader = RANGE(reader);
	TvMemoryRange caller = RANGE(caller);
	TvMemoryRange data = {t_area, 32};
	size_t		count;
	TvError		err;

	/* t_area + 32 lies behind the data asked for. */
	CHECK(tv_redirect_references(&reader, &data, &count, &err) == TV_OK);
	CHECK(count == 2);
	CHECK(tv_redirect_references(&caller, &data, &count, &err) == TV_OK);
	CHECK(count == 0);
}

int
main(void)
{
	test_redirect();
	test_refusals();
	test_references();
	return unit_done();
}
