"""Spills are counted where they are repeated: inside loops."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")

from machine_code import loop_instructions

LISTING = """
        //--------------------- .text.kernel --------------------------
.text.kernel:
        /*0000*/                   LDC R1, c[0x0][0x37c] ;
        /*0010*/                   STL [R1+0x4], R80 ;
.L_x_0:
        /*0020*/                   LDG.E R2, desc[UR4][R2.64] ;
        /*0030*/              @!P0 BRA `(.L_x_2) ;
.L_x_1:
        /*0040*/                   HMMA.16816.F32 R8, R4, R6, R8 ;
        /*0050*/                   LDL R9, [R1] ;
        /*0060*/               @P1 BRA `(.L_x_0) ;
        /*0070*/                   LDL.LU R80, [R1+0x4] ;
        /*0080*/               @P2 EXIT ;
        /*0090*/                   STG.E desc[UR4][R2.64], R80 ;
        /*00a0*/                   EXIT ;
.L_x_2:
        /*00b0*/                   NANOSLEEP 0x10 ;
        /*00c0*/                   BRA `(.L_x_1) ;
.L_x_3:
        /*00d0*/                   BRA `(.L_x_3);
        /*00e0*/                   NOP;
"""


def test_only_what_can_run_again_is_in_a_loop():
    in_loops = loop_instructions(LISTING)
    assert sorted(in_loops) == ["BRA", "BRA", "BRA", "HMMA", "LDG", "LDL", "NANOSLEEP"]


def test_a_wait_before_the_loop_makes_no_loop_of_what_follows():
    straight = LISTING.replace("@P1 BRA `(.L_x_0)", "@P1 BRA `(.L_x_2)").replace("BRA `(.L_x_1)", "EXIT")
    assert loop_instructions(straight) == []
