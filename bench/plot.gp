# SPDX-License-Identifier: GPL-2.0-only
# Draws what report.awk leaves in the file `data` into the file `out`: gnuplot -e "data='F'; out='F.svg'" plot.gp
set terminal svg size 1000,760 font "sans-serif,13" background "white"
set output out
set datafile separator "\t"
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.85 border -1
set grid ytics
set key outside top right horizontal
set xtics rotate by -20
set multiplot layout 2,1

set title "Refused packets that one core handles, millions per second"
set yrange [0:*]
plot data index 0 using 2:xtic(1) title "one source" lc rgb "#1b6ca8", \
     "" index 0 using 3 title "65,536 sources" lc rgb "#7ab8d9", \
     "" index 0 using 4 title "a million sources" lc rgb "#c5dfee", \
     "" index 0 using 5 title "all sources new" lc rgb "#e08e45"

set title "Honest clients' requests that were answered during a flood, percent"
set yrange [0:105]
plot data index 1 using 3:xtic(1) title "one source floods" lc rgb "#1b6ca8", \
     "" index 1 using 4 title "65,536 sources" lc rgb "#7ab8d9", \
     "" index 1 using 5 title "all sources new" lc rgb "#e08e45"
unset multiplot
