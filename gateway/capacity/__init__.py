"""How much traffic a gateway carries within its deadlines, by simulation. Serves nobody."""
