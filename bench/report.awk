# raw
{ print }
