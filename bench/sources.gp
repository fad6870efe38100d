# SPDX-License-Identifier: GPL-2.0-only
# Draws what report.awk leaves in the file `data` into the file `out`: gnuplot -e "data='F'; out='F.svg'" sources.gp
set terminal svg size 900,480 font "sans-serif,13" background "white"
set output out
set datafile separator "\t"
set grid
set key top left
set logscale x 2
set xlabel "sources"
set ylabel "ns of a refused packet"
set yrange [0:*]
set title "What a refused packet costs by the number of sources"
plot for [column=2:4] data using 1:column with linespoints pointtype 7 title columnheader(column)
