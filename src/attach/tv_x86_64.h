/*
 * tv_x86_64.h
 *	  Reading and writing x86-64 instructions.
 */
#ifndef TV_X86_64_H
#define TV_X86_64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <Zydis/Zydis.h>

#define TV_X86_FAR_JUMP_SIZE 14 /* jmp *0(%rip), and the address */
#define TV_X86_INT3 0xCC

/* Decode one instruction of at most size bytes. */
extern bool tv_x86_decode(const unsigned char *at, size_t size,
						  ZydisDecodedInstruction *insn);

/* Write a jump that reaches everything and uses no register. */
extern size_t tv_x86_emit_far_jump(unsigned char *at, const void *destination);

/*
 * The displacement with which an instruction ending at "end" reaches
 * destination.  False if 32 bits cannot hold it.
 */
extern bool tv_x86_displacement(const void *end, const void *destination,
								int32_t *displacement);

#endif							/* TV_X86_64_H */
